# The twin of clip_b16_retrieval.py for the embedded data: images 4 x 96, texts 4 x 64 (docs/embedded_data.md).
_base_ = './clip_b16_retrieval.py'
model = dict(
    pretrained='configs/pretrain/clip_tiny.safetensors',
    data_preprocessor=dict(tokenizer=dict(file='configs/tiny/clip_tokenizer.json'), max_text_len=35),
    visual=dict(
        arch=dict(_delete_=True, embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=192),
        img_size=48,
        patch_size=8),
    text=dict(
        vocab_size=817,
        hidden_size=64,
        num_layers=4,
        num_heads=4,
        intermediate_size=128,
        max_positions=40),
    adapter=dict(bottleneck=32),
    contrast=dict(embed_dim=64))
