# A small VL-BART for the embedded data, whose language model configs/tiny/vl_bart_pretrain.py trains (docs/vl_adapter.md).
model = dict(
    type='VLSeq2Seq',
    pretrained='configs/tiny/vl_bart_pretrain.safetensors',
    data_preprocessor=dict(
        type='VLDataPreprocessor',
        tokenizer=dict(
            type='BartTokenizer',
            file='configs/tiny/vl_bart_tokenizer.json',
            extra_tokens=0,
            vis_tokens=64)),
    text=dict(
        type='Bart',
        arch=dict(hidden_size=64, num_layers=3, num_heads=4, intermediate_size=128),
        vocab_size=683,
        max_positions=640,
        dropout=0.0,
        new_words=64,
        no_repeat=0),
    tasks=['vqa', 'gqa', 'nlvr', 'caption'],
    feature_width=128,
    visual_tokens=36,
    # Captions are longer than the published 20 tokens, and beams take their time.
    rules=dict(caption=dict(generation=dict(num_beams=1, max_length=28))),
    adapter=dict(type='VLAdapter', reduction_factor=8),
    train_norms=True)
