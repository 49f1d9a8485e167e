# python tools/train.py configs/tiny/flickr30k_clip_linear_probe.py
# Projections and the scale of the similarities on the frozen towers; no row of the paper (docs/embedded_data.md has ours).
_base_ = './flickr30k_clip_r32.py'
model = dict(adapter=None)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
