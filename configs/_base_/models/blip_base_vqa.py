# BLIP ViT-B/16, BERT-base and a decoder for VQA and VideoQA, adapted by UniAdapter (paper, appendix D).
model = dict(
    type='VQAModel',
    pretrained='checkpoints/blip_base.safetensors',
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        mean=[122.770938, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        max_text_len=35),
    visual=dict(type='BlipViT', arch='b', img_size=480, patch_size=16),
    text=dict(
        type='BertModel',
        vocab_size=30524,
        hidden_size=768,
        num_layers=12,
        num_heads=12,
        intermediate_size=3072,
        encoder_width=768,
        dropout=0.1,
        attention_dropout=0.1),
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
    inference='rank',
    k_test=128,
    # Ranked by the loss it trains with, as BLIP and the released code do.
    rank_label_smoothing=0.1,
    label_smoothing=0.1)
