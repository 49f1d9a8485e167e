# The twin of beit3_base_retrieval.py for the embedded data: two towers of 4 x 80 (docs/embedded_data.md).
_base_ = './beit3_base_retrieval.py'
model = dict(
    pretrained='configs/pretrain/beit3_tiny.safetensors',
    data_preprocessor=dict(tokenizer=dict(file='configs/tiny/beit3_tokenizer.json'), max_text_len=35),
    visual=dict(
        arch=dict(_delete_=True, embed_dims=80, num_layers=4, num_heads=4, feedforward_channels=160),
        img_size=48,
        patch_size=8),
    text=dict(
        vocab_size=189,
        hidden_size=80,
        num_layers=4,
        num_heads=4,
        intermediate_size=160,
        max_positions=40),
    adapter=dict(bottleneck=32),
    contrast=dict(embed_dim=80))
