# VL-BART of VL-Adapter: BART-base that reads 36 features of a picture behind its text (docs/vl_adapter.md).
model = dict(
    type='VLSeq2Seq',
    pretrained='checkpoints/bart_base.safetensors',
    data_preprocessor=dict(
        type='VLDataPreprocessor',
        tokenizer=dict(type='BartTokenizer', file='checkpoints/bart_base')),
    text=dict(type='Bart', arch='base', vocab_size=50265, dropout=0.1, new_words=200),
    tasks=['vqa', 'gqa', 'nlvr', 'caption'],
    feature_width=2048,
    visual_tokens=36)
