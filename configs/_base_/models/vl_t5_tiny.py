# A small VL-T5 for the embedded data, whose language model configs/tiny/vl_t5_pretrain.py trains (docs/vl_adapter.md).
model = dict(
    type='VLSeq2Seq',
    pretrained='configs/tiny/vl_t5_pretrain.safetensors',
    data_preprocessor=dict(
        type='VLDataPreprocessor',
        tokenizer=dict(type='T5Tokenizer', file='configs/tiny/vl_t5_tokenizer.json', vis_tokens=64)),
    text=dict(
        type='T5',
        arch=dict(hidden_size=64, num_layers=3, num_heads=4, head_dim=16, intermediate_size=128),
        vocab_size=330,
        dropout=0.0,
        new_words=64),
    tasks=['vqa', 'gqa', 'nlvr', 'caption'],
    feature_width=128,
    visual_tokens=36,
    # Captions are longer than the published 20 tokens, and beams take their time.
    rules=dict(caption=dict(generation=dict(num_beams=1, max_length=28))),
    adapter=dict(type='VLAdapter', reduction_factor=4, init='torch'))
