# python tools/train.py configs/tiny/coco_full_finetune.py
# Everything is trained, nothing is added; no row of the paper (docs/embedded_data.md has ours).
_base_ = './coco_r32.py'
model = dict(adapter=None, pfa=None, train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
# It learns faster than adapters do: fewer epochs than theirs.
train_cfg = dict(max_epochs=2, val_interval=2)
