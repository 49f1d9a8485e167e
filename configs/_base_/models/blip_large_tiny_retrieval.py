# The twin of blip_large_retrieval.py for the embedded data: images twice as deep and 4/3 as wide as texts, as 24 x 1024 is to 12 x 768.
_base_ = './blip_tiny_retrieval.py'
model = dict(
    pretrained='configs/pretrain/blip_large_tiny.safetensors',
    visual=dict(arch=dict(embed_dims=64, num_layers=6, num_heads=4, feedforward_channels=128)),
    text=dict(hidden_size=48, num_layers=3, num_heads=4, intermediate_size=96, encoder_width=64),
    pfa=None)
