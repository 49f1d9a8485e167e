# Paper, table 16: Flickr30K retrieval.
_base_ = './adamw_cosine.py'
train_cfg = dict(max_epochs=6)
auto_scale_lr = dict(base_batch_size=256)
