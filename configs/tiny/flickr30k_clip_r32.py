# python tools/train.py configs/tiny/flickr30k_clip_r32.py
# UniAdapter (share down, r=32) on a small CLIP; no row of the paper: it has no embedded data (docs/embedded_data.md has ours).
_base_ = [
    '../_base_/models/clip_tiny_retrieval.py', '../_base_/datasets/toy_world_flickr30k.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/dual_encoder_runtime.py',
]
model = dict(adapter=dict(scale=1.0))
# A pair's negatives are the rest of its batch.
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=3, val_interval=3)
