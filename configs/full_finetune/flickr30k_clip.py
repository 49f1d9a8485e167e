# tools/dist_train.sh configs/full_finetune/flickr30k_clip.py 8
# No row of the paper: everything trained, as uniadapter/flickr30k_clip_r512.py trains its adapter.
_base_ = [
    '../_base_/models/clip_b16_retrieval.py', '../_base_/datasets/flickr30k_retrieval_clip.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/dual_encoder_runtime.py',
]
model = dict(adapter=None, train_backbone=True)
