# VL-Adapter's schedule for the embedded data: 3 passes, and the rate that a small model wants.
_base_ = './vl_adapter_20e.py'
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=3, val_interval=3)
auto_scale_lr = dict(base_batch_size=60)
