# VL-Adapter's schedule of the video tasks: that of the others over 7 epochs.
_base_ = './vl_adapter_20e.py'
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_epochs=7)
auto_scale_lr = dict(base_batch_size=50)
