# BEiT-3 base (two towers of 12 x 768) for retrieval, adapted by UniAdapter.
_base_ = './dual_encoder_retrieval.py'
model = dict(
    pretrained='checkpoints/beit3_base.safetensors',
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        tokenizer=dict(type='SentencePieceTokenizer', file='checkpoints/beit3.json'),
        max_text_len=64),
    visual=dict(type='Beit3Vision', arch='b', img_size=384, patch_size=16),
    text=dict(
        type='Beit3Text',
        vocab_size=64010,
        hidden_size=768,
        num_layers=12,
        num_heads=12,
        intermediate_size=3072,
        max_positions=1022),
    contrast=dict(embed_dim=768))
