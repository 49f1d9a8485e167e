# python tools/train.py configs/tiny/flickr30k_albef_linear_probe.py
# Projections, matching head and temperature on the frozen towers; no row of the paper (docs/embedded_data.md has ours).
_base_ = './flickr30k_albef_r32.py'
model = dict(adapter=None)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
