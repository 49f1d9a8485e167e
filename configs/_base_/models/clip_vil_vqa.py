# CLIP-ViL: a grid of CLIP RN50x4 behind a question of 20 tokens in one BERT, answers as classes, adapted by UniPT.
model = dict(
    type='AnswerClassModel',
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        tokenizer=dict(extra_tokens=[]),
        max_text_len=20,
        pad_texts=True),
    visual=dict(type='ClipGrid', arch='RN50x4', max_side=25),
    text=dict(
        type='BertStream',
        vocab_size=30522,
        hidden_size=768,
        num_layers=12,
        num_heads=12,
        intermediate_size=3072,
        grid_width=2560,
        dropout=0.1,
        attention_dropout=0.1),
    adapter=dict(type='UniPT'))
