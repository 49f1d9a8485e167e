# A small CLIP-ViL for the embedded data: the classes of clip_vil_vqa.py with smaller numbers (docs/unipt_clip_vil.md).
model = dict(
    type='AnswerClassModel',
    pretrained='configs/pretrain/clip_vil_tiny.safetensors',
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        tokenizer=dict(vocab_file='configs/tiny/vocab.txt', extra_tokens=[]),
        max_text_len=20,
        pad_texts=True),
    visual=dict(type='ClipGrid', arch=dict(depths=(1, 1, 1, 1), width=12), max_side=4),
    text=dict(
        type='BertStream',
        vocab_size=187,
        hidden_size=96,
        num_layers=4,
        num_heads=4,
        intermediate_size=192,
        grid_width=384,
        max_positions=32,
        dropout=0.0,
        attention_dropout=0.0),
    adapter=dict(type='UniPT'),
    num_answers=48,
    answer_list='configs/tiny/clip_vil_answers.json')
