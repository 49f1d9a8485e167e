# python tools/train.py configs/pretrain/blip_tiny.py
# No row of the paper: it starts from BLIP's checkpoint; this makes a small one on the embedded stills (docs/embedded_data.md).
_base_ = [
    '../_base_/models/blip_tiny_retrieval.py',
    '../_base_/datasets/toy_world_stills.py',
    '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py',
]


# Faster averages than BLIP's 0.995: there are 3,000 iterations, not 500,000.
model = dict(
    type='BlipPretrainModel',
    pretrained=None,
    adapter=None,
    pfa=None,
    momentum=0.98,
    decoder=dict(
        type='BertDecoder',
        vocab_size=189,
        hidden_size=128,
        num_layers=4,
        num_heads=4,
        intermediate_size=256,
        encoder_width=128,
        max_positions=64,
        dropout=0.0,
        attention_dropout=0.0))

optim_wrapper = dict(
    optimizer=dict(lr=1e-3), paramwise_cfg=dict(no_decay_norm_bias=True), clip_grad=dict(max_norm=3.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=150),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
custom_hooks = [dict(type='AlphaRampHook')]
train_cfg = dict(max_epochs=5, val_interval=1)
val_cfg = dict(type='RetrievalValLoop', k_test=64)
test_cfg = dict(type='RetrievalTestLoop', k_test=64)
