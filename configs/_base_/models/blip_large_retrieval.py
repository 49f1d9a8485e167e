# BLIP ViT-L/16 (24 x 1024) beside BERT-base (12 x 768): docs/adapters.md says what is shared there.
_base_ = './blip_base_retrieval.py'
model = dict(
    pretrained='checkpoints/blip_large.safetensors',
    visual=dict(arch='l'),
    text=dict(encoder_width=1024))
