# Pre-training on the embedded stills: AdamW from scratch, 150 steps of warm-up, then cosine to zero.
_base_ = './adamw_cosine.py'
optim_wrapper = dict(
    optimizer=dict(lr=1e-3), paramwise_cfg=dict(no_decay_norm_bias=True), clip_grad=dict(max_norm=3.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=150),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=5, val_interval=1)
