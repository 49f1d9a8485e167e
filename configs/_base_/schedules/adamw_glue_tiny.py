# AdamW for the embedded GLUE: cosine to zero, six passes over 1,200 samples.
_base_ = './adamw_cosine.py'
optim_wrapper = dict(optimizer=dict(lr=3e-3, weight_decay=0.0), clip_grad=dict(max_norm=1.0))
train_cfg = dict(max_epochs=6, val_interval=6)
auto_scale_lr = dict(base_batch_size=50)
