# tools/dist_train.sh configs/full_finetune/flickr30k.py 8
# Paper, table 9, full fine-tuning, Flickr30K: 97.3/99.9/100.0, image-to-text R@1/5/10; 87.3/97.6/98.9, text-to-image.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=None,
    visual=dict(img_size=384),
    pfa=None,
    train_backbone=True)
