# python tools/train.py configs/tiny/mdetr_unipt.py
# UniPT on a small MDETR; no row of the paper: it has no embedded data (docs/unipt_mdetr.md has ours).
_base_ = [
    '../_base_/models/mdetr_tiny_grounding.py', '../_base_/datasets/toy_world_refcoco.py',
    '../_base_/schedules/unipt_mdetr_10e_bs8.py', '../_base_/grounding_runtime.py',
]
# Some hundred steps an epoch, not 15,000: faster averages, larger steps.
custom_hooks = [dict(type='EMAHook', momentum=0.02, from_start=True)]
optim_wrapper = dict(
    optimizer=dict(lr=3e-3), paramwise_cfg=dict(lr_of=dict(heads=1e-3)), clip_grad=dict(max_norm=1.0))
train_cfg = dict(max_epochs=3, val_interval=3)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[2], gamma=0.1)]
