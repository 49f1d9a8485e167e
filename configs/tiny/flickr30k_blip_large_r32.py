# python tools/train.py configs/tiny/flickr30k_blip_large_r32.py
# UniAdapter (share down, r=32) on a small BLIP-Large; no row of the paper: it has no embedded data (docs/embedded_data.md has ours).
_base_ = [
    '../_base_/models/blip_large_tiny_retrieval.py', '../_base_/datasets/toy_world_flickr30k.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=dict(scale=1.0), momentum=0.98)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=2, val_interval=2)
# BLIP ranks a shortlist by matching score + cosine.
val_cfg = dict(k_test=64, itc_weight=1.0)
test_cfg = dict(k_test=64, itc_weight=1.0)
