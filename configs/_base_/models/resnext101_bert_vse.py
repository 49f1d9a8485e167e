# VSE-infinity: ResNeXt-101 32x8d (WSL) and BERT-base, tokens pooled by GPO, hinge loss. UniPT takes the place of both towers' tokens.
model = dict(
    type='VseModel',
    pretrained='checkpoints/resnext101_wsl_bert.safetensors',
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        tokenizer=dict(type='BertTokenizer', extra_tokens=()),
        # Nothing is cut off: BERT has as many positions.
        max_text_len=512,
        word_masking=dict(prob=0.2, mask=0.5, random=0.1),
    ),
    visual=dict(type='ResNetVisual', arch='resnext101_32x8d'),
    text=dict(type='BertText'),
    adapter=dict(type='UniPT'),
    contrast=dict(type='PooledHingeHead', embed_dim=1024, margin=0.2),
    token_drop=0.2,
)
