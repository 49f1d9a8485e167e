# CLIP ViT-B/32 as CLIP4Clip (meanP) compares videos and texts: the features of up to 12 frames are averaged.
_base_ = './clip_b32_retrieval.py'
model = dict(
    data_preprocessor=dict(
        tokenizer=dict(
            _delete_=True,
            type='ClipTokenizer',
            bpe='checkpoints/bpe_simple_vocab_16e6.txt.gz',
            repair=True),
        max_text_len=32,
        pad_frames=12),
    pooling=dict(type='FeaturePooling'),
    contrast=dict(train_temperature=False, gradients='own', eps=1e-6),
    adapter=dict(_delete_=True, type='UniPT', start='published', autocast=False))
