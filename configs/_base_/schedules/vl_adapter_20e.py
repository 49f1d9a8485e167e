# VL-Adapter's schedule: AdamW, linear warm-up over a tenth of the steps, then linear to 0 over 20 epochs.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    # Norms, PHM's added vectors, LoRA's factors and embeddings decay; biases and the norm of a hyper-network do not.
    paramwise_cfg=dict(no_decay_kinds=['bias', 'generator_norm']),
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01),
    clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='WarmupLinearLR', warmup=0.1, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=1)
auto_scale_lr = dict(enable=False, base_batch_size=500)
