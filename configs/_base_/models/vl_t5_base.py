# VL-T5 of VL-Adapter: T5-base that reads 36 features of a picture behind its text (docs/vl_adapter.md).
model = dict(
    type='VLSeq2Seq',
    pretrained='checkpoints/t5_base.safetensors',
    data_preprocessor=dict(
        type='VLDataPreprocessor',
        tokenizer=dict(type='T5Tokenizer', file='checkpoints/t5_base/tokenizer.json', vis_tokens=100)),
    text=dict(type='T5', arch='base', vocab_size=32128, dropout=0.1, new_words=72),
    tasks=['vqa', 'gqa', 'nlvr', 'caption'],
    feature_width=2048,
    visual_tokens=36)
