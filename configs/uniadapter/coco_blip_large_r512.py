# tools/dist_train.sh configs/uniadapter/coco_blip_large_r512.py 8
# No row of the paper: its table 11 has BLIP-Large on Flickr30K alone.
_base_ = [
    '../_base_/models/blip_large_retrieval.py', '../_base_/datasets/coco_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(visual=dict(img_size=384), adapter=dict(bottleneck=512), pfa=None)
# BLIP ranks a shortlist by matching score + cosine.
val_cfg = dict(k_test=256, itc_weight=1.0)
test_cfg = dict(k_test=256, itc_weight=1.0)
