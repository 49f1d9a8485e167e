# python tools/train.py configs/easy_vqa/full_finetune.py
# Everything is trained, nothing is added; no row of the paper (docs/easy_vqa.md has ours).
_base_ = './r64.py'
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=3, val_interval=3)
