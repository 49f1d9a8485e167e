# python tools/train.py configs/tiny/flickr30k_linear_probe.py
# Projections, matching head and temperature on the frozen towers; no row of the paper (docs/embedded_data.md has ours).
_base_ = './flickr30k_r32.py'
model = dict(adapter=None, pfa=None)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
