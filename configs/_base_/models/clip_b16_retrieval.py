# CLIP ViT-B/16 (images 12 x 768, texts 12 x 512) for retrieval, adapted by UniAdapter.
_base_ = './dual_encoder_retrieval.py'
model = dict(
    pretrained='checkpoints/clip_b16.safetensors',
    data_preprocessor=dict(
        mean=[122.770938, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        tokenizer=dict(type='ClipTokenizer', file='checkpoints/clip_tokenizer.json'),
        max_text_len=77),
    visual=dict(type='ClipVisual', arch='b', img_size=224, patch_size=16),
    text=dict(
        type='ClipText',
        vocab_size=49408,
        hidden_size=512,
        num_layers=12,
        num_heads=8,
        intermediate_size=2048,
        max_positions=77),
    contrast=dict(embed_dim=512, max_scale=100.0))
