# python tools/train.py configs/tiny/flickr30k_r32.py
# UniAdapter (share down, r=32); no row of the paper: it has no embedded data (docs/embedded_data.md has ours).
_base_ = [
    '../_base_/models/blip_tiny_retrieval.py', '../_base_/datasets/toy_world_flickr30k.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(bottleneck=32, scale=1.0), pfa=None, momentum=0.98)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=2, val_interval=2)
val_cfg = dict(k_test=64)
test_cfg = dict(k_test=64)
