# AdamW for the embedded GLUE: cosine to zero, eight passes over 4,000 samples.
_base_ = './adamw_cosine.py'
optim_wrapper = dict(optimizer=dict(lr=1e-2, weight_decay=0.0), clip_grad=dict(max_norm=1.0))
train_cfg = dict(max_epochs=8, val_interval=8)
auto_scale_lr = dict(base_batch_size=50)
