# Settings of the UniPT authors' follow-up code for T5 on GLUE; those of UniPT are unknown. What follows its warm-up is
# unknown too: the rate stays.
_base_ = './adamw_cosine.py'
optim_wrapper = dict(optimizer=dict(lr=3e-3, weight_decay=0.0))
param_scheduler = [dict(type='LinearLR', start_factor=0.002, by_epoch=False, begin=0, end=500)]
train_cfg = dict(max_epochs=10)
auto_scale_lr = dict(base_batch_size=100)
