# T5-large for GLUE: every third of 24 layers is read, which comes closest to the published 0.92 % (docs/unipt_t5.md).
_base_ = './t5_base_glue.py'
model = dict(
    pretrained='checkpoints/t5_large.safetensors',
    data_preprocessor=dict(tokenizer=dict(file='checkpoints/t5_large/tokenizer.json')),
    text=dict(arch='large'),
    adapter=dict(taps=[2, 5, 8, 11, 14, 17, 20, 23]))
