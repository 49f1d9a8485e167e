# python tools/train.py configs/tiny/mdetr_full_finetune.py
# Everything but the stem is trained, nothing is added; no row of the paper (docs/unipt_mdetr.md has ours).
_base_ = './mdetr_unipt.py'
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(lr_of=dict(_delete_=True)))
