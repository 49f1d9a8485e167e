# Paper, table 16: MSRVTT-QA.
_base_ = './adamw_cosine.py'
optim_wrapper = dict(optimizer=dict(lr=2e-5))
train_cfg = dict(max_epochs=10)
auto_scale_lr = dict(base_batch_size=24)
