# python tools/test.py configs/tiny/flickr30k_blip_large_zero_shot.py configs/pretrain/blip_large_tiny.safetensors
# The frozen backbone as it was pre-trained on stills; no row of the paper (docs/embedded_data.md has ours).
_base_ = './flickr30k_blip_large_r32.py'
model = dict(adapter=None)
