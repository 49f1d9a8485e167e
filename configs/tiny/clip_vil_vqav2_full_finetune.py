# python tools/train.py configs/tiny/clip_vil_vqav2_full_finetune.py
# Everything is trained, nothing is added; no row of the paper (docs/unipt_clip_vil.md has ours).
_base_ = './clip_vil_vqav2_unipt.py'
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
