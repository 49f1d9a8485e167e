# python tools/train.py configs/pretrain/blip_large_tiny.py
# No row of the paper: a small BLIP-Large from scratch on the embedded stills, by contrast and matching (docs/embedded_data.md).
_base_ = [
    '../_base_/models/blip_large_tiny_retrieval.py', '../_base_/datasets/toy_world_stills.py',
    '../_base_/schedules/adamw_cosine_pretrain_tiny.py', '../_base_/dual_encoder_runtime.py',
]
# Contrast within the batch learns from the first step on, where averages and a queue take an epoch to become useful.
model = dict(
    pretrained=None,
    adapter=None,
    train_backbone=True,
    contrast=dict(type='BatchContrastHead', bias=True, log_scale=False, max_scale=100.0),
    momentum=None,
    queue_size=None,
    alpha=None)
train_cfg = dict(max_epochs=2)
val_cfg = dict(k_test=64, itc_weight=1.0)
test_cfg = dict(k_test=64, itc_weight=1.0)
