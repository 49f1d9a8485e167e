# python tools/train.py configs/easy_vqa/full_finetune.py
# Everything is trained, nothing is added; no row of the paper (docs/easy_vqa.md has ours).
_base_ = './r64.py'
model = dict(adapter=None, train_backbone=True)
# Rate and length that were best on held-out questions (docs/easy_vqa.md).
optim_wrapper = dict(optimizer=dict(lr=3e-4))
