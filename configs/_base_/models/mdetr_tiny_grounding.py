# The twin of mdetr_r101_grounding.py for the embedded data: three stages of 16 to 64 channels, texts 2 x 64, transformer 3 + 3 x 64.
_base_ = './mdetr_r101_grounding.py'
model = dict(
    pretrained='configs/pretrain/mdetr_tiny.safetensors',
    data_preprocessor=dict(
        tokenizer=dict(file='configs/tiny/roberta_tokenizer.json'), max_text_len=32, map_size=32),
    visual=dict(depths=[1, 1, 1], block='basic', width=16),
    text=dict(
        vocab_size=665,
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        intermediate_size=128,
        max_positions=40,
        dropout=0.0),
    detr=dict(
        d_model=64,
        num_heads=4,
        feedforward=128,
        encoder_layers=3,
        decoder_layers=3,
        num_queries=4,
        dropout=0.0),
    head=dict(map_size=32, align_dim=32),
    adapter=dict(taps='1,2'))
