# Paper, table 16: MSR-VTT retrieval.
_base_ = './adamw_cosine.py'
train_cfg = dict(max_epochs=5)
auto_scale_lr = dict(base_batch_size=64)
