# python tools/train.py configs/tiny/mdetr_linear_probe.py
# The heads alone are trained; no row of the paper (docs/unipt_mdetr.md has ours).
_base_ = './mdetr_unipt.py'
model = dict(adapter=None)
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(lr_of=dict(_delete_=True)))
