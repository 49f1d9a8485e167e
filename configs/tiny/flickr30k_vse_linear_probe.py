# python tools/train.py configs/tiny/flickr30k_vse_linear_probe.py
# Projections and poolings on the frozen towers; no row of the paper (docs/embedded_data.md has ours).
_base_ = './flickr30k_vse_unipt.py'
model = dict(adapter=None)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
