# tools/dist_train.sh configs/uniadapter/flickr30k_blip_large_r512.py 8
# Paper, table 11, UniAdapter on BLIP-Large, Flickr30K: 96.9/99.9/100.0, image-to-text R@1/5/10; 87.5/97.9/99.1, text-to-image.
_base_ = [
    '../_base_/models/blip_large_retrieval.py', '../_base_/datasets/flickr30k_retrieval.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(visual=dict(img_size=384), adapter=dict(bottleneck=512), pfa=None)
# BLIP ranks a shortlist by matching score + cosine.
val_cfg = dict(itc_weight=1.0)
test_cfg = dict(itc_weight=1.0)
