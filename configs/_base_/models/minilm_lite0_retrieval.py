# MiniLM-L6 (6 x 384) and EfficientNet-Lite0 (17 layers) side by side, both trained by others (docs/real_weights.md).
# Layers have one number at the top: texts have layers 12 to 17, images 1 to 17. Adapters are in 12 to 17.
_base_ = './dual_encoder_retrieval.py'
model = dict(
    pretrained='checkpoints/minilm_lite0.safetensors',
    data_preprocessor=dict(
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        tokenizer=dict(type='BertTokenizer', extra_tokens=[]),
        max_text_len=40),
    visual=dict(type='EfficientNetLite', arch='lite0', img_size=224, num_classes=1000),
    text=dict(
        type='SentenceBert',
        vocab_size=30522,
        hidden_size=384,
        num_layers=6,
        num_heads=12,
        intermediate_size=1536,
        layer_offset=11,
        dropout=0.0,
        attention_dropout=0.0),
    adapter=dict(bottleneck=48, scale=1.0, layers='12-17'),
    contrast=dict(embed_dim=384, temperature=0.05, bias=True))
