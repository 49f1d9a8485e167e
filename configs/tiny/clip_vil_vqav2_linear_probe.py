# python tools/train.py configs/tiny/clip_vil_vqav2_linear_probe.py
# The answer head on the frozen small CLIP-ViL; no row of the paper (docs/unipt_clip_vil.md has ours).
_base_ = './clip_vil_vqav2_unipt.py'
model = dict(adapter=None)
