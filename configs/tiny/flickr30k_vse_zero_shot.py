# python tools/test.py configs/tiny/flickr30k_vse_zero_shot.py configs/pretrain/vse_tiny.safetensors
# The frozen backbone as it was pre-trained on stills, with its projections; no row of the paper (docs/embedded_data.md has ours).
_base_ = './flickr30k_vse_unipt.py'
model = dict(adapter=None)
