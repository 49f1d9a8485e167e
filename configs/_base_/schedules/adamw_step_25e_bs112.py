# UniPT beside VSE-infinity, as the authors' code has it: AdamW, weight decay on all, a tenth of the rate from epoch 15 on.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    clip_grad=dict(max_norm=2.0),
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=1e-4),
)

param_scheduler = [dict(type='MultiStepLR', milestones=[15], gamma=0.1, by_epoch=True)]

train_cfg = dict(by_epoch=True, max_epochs=25, val_interval=1)
auto_scale_lr = dict(enable=False, base_batch_size=112)
