# UniPT's settings for MDETR: AdamW, 5e-4 for the side networks and 5e-5 for the heads, a tenth of both from epoch 5 (UniPT's released code).
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=1e-4),
    paramwise_cfg=dict(lr_of=dict(heads=5e-5)),
    clip_grad=dict(max_norm=0.1))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[5], gamma=0.1)]
train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=1)
auto_scale_lr = dict(enable=False, base_batch_size=8)
