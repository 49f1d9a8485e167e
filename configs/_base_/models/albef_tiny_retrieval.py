# The twin of albef_base_retrieval.py for the embedded data: images 4 x 64, texts 2 x 64 alone and 2 x 64 fused (docs/embedded_data.md).
_base_ = './albef_base_retrieval.py'
model = dict(
    pretrained='configs/pretrain/albef_tiny.safetensors',
    data_preprocessor=dict(tokenizer=dict(vocab_file='configs/tiny/vocab.txt')),
    visual=dict(
        arch=dict(_delete_=True, embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=128),
        img_size=48,
        patch_size=8),
    text=dict(
        vocab_size=187,
        hidden_size=64,
        num_layers=4,
        num_heads=4,
        intermediate_size=128,
        encoder_width=64,
        max_positions=64,
        dropout=0.0,
        attention_dropout=0.0,
        fusion_layer=2),
    adapter=dict(bottleneck=32),
    embed_dim=64,
    queue_size=1024)
