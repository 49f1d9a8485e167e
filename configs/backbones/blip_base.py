# tools/dist_test.sh configs/backbones/blip_base.py checkpoints/blip_base.safetensors 8
# The backbone as its authors published it, without an adapter; no row of the paper.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=None, visual=dict(img_size=384), pfa=None)
# BLIP ranks a shortlist by matching score + cosine.
val_cfg = dict(itc_weight=1.0)
test_cfg = dict(itc_weight=1.0)
