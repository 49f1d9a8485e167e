# A small BLIP for captions of the embedded data: the classes of blip_base_caption.py with smaller numbers (docs/embedded_data.md).
model = dict(
    type='CaptionModel',
    pretrained='configs/pretrain/blip_tiny.safetensors',
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        mean=[122.770938, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        tokenizer=dict(vocab_file='configs/tiny/vocab.txt'),
        max_text_len=35),
    visual=dict(
        type='BlipViT',
        arch=dict(embed_dims=128, num_layers=4, num_heads=4, feedforward_channels=256),
        img_size=48,
        patch_size=8),
    decoder=dict(
        type='BertDecoder',
        vocab_size=189,
        hidden_size=128,
        num_layers=4,
        num_heads=4,
        intermediate_size=256,
        encoder_width=128,
        max_positions=64,
        dropout=0.0,
        attention_dropout=0.0),
    adapter=dict(type='UniAdapter', bottleneck=32, scale=0.1),
    prompt='a picture of ',
    label_smoothing=0.1,
    generation=dict(num_beams=3, max_length=20, min_length=5))
