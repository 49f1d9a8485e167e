# CLIP4Clip's settings: BertAdam, warm-up over a tenth of all steps into a cosine, gradients cut at 1 (docs/unipt_clip4clip.md).
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='BertAdam', lr=1e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, max_grad_norm=1.0),
    paramwise_cfg=dict(no_decay_bias=True),
    clip_grad=dict(max_norm=1.0))

param_scheduler = [
    dict(type='WarmupCosineLR', warmup=0.1, by_epoch=True, convert_to_iter_based=True),
]

train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=1)
auto_scale_lr = dict(enable=False, base_batch_size=128)
