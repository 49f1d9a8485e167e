# CLIP ViT-B/32: 50 tokens an image instead of 197.
_base_ = './clip_b16_retrieval.py'
model = dict(pretrained='checkpoints/clip_b32.safetensors', visual=dict(patch_size=32))
