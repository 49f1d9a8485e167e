# CLIP-ViL's schedule: AdamW, 5 % linear warm-up, then linear to 0 over 5 epochs, batches of 4 GPUs x 32 x 8 steps.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    # Biases do not decay, norms of side networks do.
    paramwise_cfg=dict(no_decay_bias=True),
    optimizer=dict(type='AdamW', lr=5e-4, eps=1e-6, weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
    accumulative_counts=8)

# In epochs; 8 accumulated steps are one update.
param_scheduler = [
    dict(type='WarmupLinearLR', warmup=0.05, by_epoch=True, convert_to_iter_based=True),
]

train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=1)
auto_scale_lr = dict(enable=False, base_batch_size=1024)
