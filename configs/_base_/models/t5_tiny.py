# A small T5 for the embedded texts, pre-trained by configs/tiny/t5_pretrain.py (docs/unipt_t5.md).
model = dict(
    type='Seq2SeqModel',
    pretrained='configs/tiny/t5_pretrain.safetensors',
    data_preprocessor=dict(
        type='TextDataPreprocessor',
        tokenizer=dict(type='T5Tokenizer', file='configs/tiny/t5_tokenizer.json'),
        max_text_len=40),
    text=dict(
        type='T5',
        arch=dict(hidden_size=64, num_layers=3, num_heads=4, head_dim=16, intermediate_size=128),
        vocab_size=296,
        dropout=0.0),
    adapter=dict(type='UniPT', decoder='side', reduction=2),
    generation=dict(num_beams=1, max_length=4),
    max_target_len=3)
