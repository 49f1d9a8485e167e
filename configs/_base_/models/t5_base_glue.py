# T5-base for GLUE with UniPT's pair of sides: a proposal, as the authors released no T5 code (docs/unipt_t5.md).
model = dict(
    type='Seq2SeqModel',
    pretrained='checkpoints/t5_base.safetensors',
    data_preprocessor=dict(
        type='TextDataPreprocessor',
        tokenizer=dict(type='T5Tokenizer', file='checkpoints/t5_base/tokenizer.json'),
        max_text_len=128),
    text=dict(type='T5', arch='base', vocab_size=32128, dropout=0.1),
    adapter=dict(type='UniPT', decoder='side', reduction=4, taps=[1, 3, 5, 7, 9, 11]),
    generation=dict(num_beams=1, max_length=9),
    max_target_len=8,
    label_smoothing=0.0)
