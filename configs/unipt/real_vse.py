# python tools/train.py configs/unipt/real_vse.py
# No row of the paper: UniPT in VSE-infinity's form on towers that others trained, real pictures (docs/real_weights.md).
_base_ = [
    '../_base_/datasets/stamps_retrieval.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/dual_encoder_runtime.py',
]
model = dict(
    type='VseModel',
    pretrained='checkpoints/minilm_lite0.safetensors',
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        tokenizer=dict(type='BertTokenizer', extra_tokens=[]),
        max_text_len=40),
    # The classifier plays no part, but stands in the file of the weights.
    visual=dict(type='EfficientNetLite', arch='lite0', img_size=224, num_classes=1000),
    text=dict(
        type='BertText',
        vocab_size=30522,
        hidden_size=384,
        num_layers=6,
        num_heads=12,
        intermediate_size=1536,
        type_vocab_size=0),
    # The last maps of strides 8, 16 and 32; the convolution behind them guides.
    adapter=dict(type='UniPT', taps=dict(visual='5,11,16')),
    contrast=dict(type='PooledHingeHead', embed_dim=384))
custom_hooks = [dict(type='HardNegativeHook')]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=4)
