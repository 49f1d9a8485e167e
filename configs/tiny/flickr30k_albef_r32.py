# python tools/train.py configs/tiny/flickr30k_albef_r32.py
# UniAdapter (aligned, share down, r=32) on a small ALBEF; no row of the paper (docs/embedded_data.md has ours).
_base_ = [
    '../_base_/models/albef_tiny_retrieval.py', '../_base_/datasets/toy_world_flickr30k.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=dict(scale=1.0), momentum=0.98)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=2, val_interval=2)
val_cfg = dict(k_test=64)
test_cfg = dict(k_test=64)
