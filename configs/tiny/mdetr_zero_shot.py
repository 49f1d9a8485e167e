# python tools/test.py configs/tiny/mdetr_zero_shot.py configs/pretrain/mdetr_tiny.safetensors
# The small MDETR as it was pre-trained; no row of the paper (docs/unipt_mdetr.md has ours).
_base_ = './mdetr_unipt.py'
model = dict(adapter=None)
