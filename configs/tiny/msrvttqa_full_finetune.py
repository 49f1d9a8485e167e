# python tools/train.py configs/tiny/msrvttqa_full_finetune.py
# Everything is trained, nothing is added; no row of the paper (docs/embedded_data.md has ours).
_base_ = './msrvttqa_r32.py'
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
# It learns faster than adapters do: fewer epochs than theirs.
train_cfg = dict(max_epochs=3, val_interval=3)
