# ALBEF (ViT-B/16; layers 1-6 of BERT-base for texts, 7-12 for what is fused) for retrieval, adapted by UniAdapter.
model = dict(
    type='RetrievalModel',
    pretrained='checkpoints/albef.safetensors',
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        mean=[122.770938, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        tokenizer=dict(type='BertTokenizer', extra_tokens=[]),
        max_text_len=30),
    visual=dict(type='BlipViT', arch='b', img_size=384, patch_size=16),
    text=dict(
        type='BertModel',
        vocab_size=30522,
        hidden_size=768,
        num_layers=12,
        num_heads=12,
        intermediate_size=3072,
        encoder_width=768,
        dropout=0.1,
        attention_dropout=0.1,
        type_vocab_size=2,
        fusion_layer=6),
    adapter=dict(type='UniAdapter', bottleneck=512, scale=0.1),
    matching=dict(type='MatchingHead', negatives='own', candidates='momentum'),
    embed_dim=256,
    momentum=0.995,
    queue_size=65536,
    alpha=0.4)
