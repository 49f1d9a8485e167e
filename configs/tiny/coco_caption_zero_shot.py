# python tools/test.py configs/tiny/coco_caption_zero_shot.py configs/pretrain/blip_tiny.safetensors
# The frozen backbone as it was pre-trained on stills; no row of the paper (docs/embedded_data.md has ours).
_base_ = './coco_caption_r32.py'
model = dict(adapter=None)
