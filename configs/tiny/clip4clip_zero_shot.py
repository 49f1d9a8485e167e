# python tools/test.py configs/tiny/clip4clip_zero_shot.py configs/pretrain/clip_tiny.safetensors
# The frozen small CLIP as it was pre-trained on stills; no row of the paper (docs/unipt_clip4clip.md has ours).
_base_ = './clip4clip_unipt.py'
model = dict(adapter=None)
custom_hooks = []
