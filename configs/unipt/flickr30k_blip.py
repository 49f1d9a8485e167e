# tools/dist_train.sh configs/unipt/flickr30k_blip.py 8
# No row of the paper: its UniPT for Flickr30K stands beside ResNeXt-101 and BERT.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(visual=dict(img_size=384), adapter=dict(_delete_=True, type='UniPT'), pfa=None)
