# python tools/train.py configs/tiny/clip4clip_full_finetune.py
# Everything of the small CLIP is trained; no row of the paper: it has no embedded data (docs/unipt_clip4clip.md has ours).
_base_ = './clip4clip_unipt.py'
model = dict(adapter=None, train_backbone=True, contrast=dict(train_temperature=True))
custom_hooks = []
optim_wrapper = dict(optimizer=dict(lr=3e-4))
# The towers run in every epoch.
train_cfg = dict(max_epochs=5)
