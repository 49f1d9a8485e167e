# BLIP ViT-B/16 and a decoder for captioning, adapted by UniAdapter (paper, appendix E.5).
model = dict(
    type='CaptionModel',
    pretrained='checkpoints/blip_base.safetensors',
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        mean=[122.770938, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        max_text_len=35),
    visual=dict(type='BlipViT', arch='b', img_size=384, patch_size=16),
    decoder=dict(
        type='BertDecoder',
        vocab_size=30524,
        hidden_size=768,
        num_layers=12,
        num_heads=12,
        intermediate_size=3072,
        encoder_width=768,
        dropout=0.1,
        attention_dropout=0.1),
    adapter=dict(type='UniAdapter', bottleneck=512, scale=0.1),
    prompt='a picture of ',
    label_smoothing=0.1,
    generation=dict(num_beams=3, max_length=20, min_length=5))
