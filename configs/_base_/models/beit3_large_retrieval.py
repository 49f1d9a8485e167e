# BEiT-3 large: two towers of 24 x 1024.
_base_ = './beit3_base_retrieval.py'
model = dict(
    pretrained='checkpoints/beit3_large.safetensors',
    visual=dict(arch='l'),
    text=dict(hidden_size=1024, num_layers=24, num_heads=16, intermediate_size=4096),
    contrast=dict(embed_dim=1024))
