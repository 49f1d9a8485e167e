# The twin of resnext101_bert_vse.py for the embedded data: a network of four residual blocks, texts 4 x 64 (docs/embedded_data.md).
model = dict(
    type='VseModel',
    pretrained='configs/pretrain/vse_tiny.safetensors',
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        tokenizer=dict(vocab_file='configs/tiny/vocab.txt', extra_tokens=()),
        max_text_len=35),
    visual=dict(type='SmallConvVisual'),
    text=dict(
        type='BertText',
        vocab_size=187,
        hidden_size=64,
        num_layers=4,
        num_heads=4,
        intermediate_size=128,
        max_positions=40,
        dropout=0.0,
        attention_dropout=0.0),
    adapter=dict(type='UniPT'),
    contrast=dict(type='PooledHingeHead', embed_dim=64),
    token_drop=0.2)
