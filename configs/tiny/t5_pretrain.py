# python tools/train.py configs/tiny/t5_pretrain.py
# No row of the paper: a small T5 from scratch on sentences of the embedded world (docs/unipt_t5.md).
_base_ = [
    '../_base_/models/t5_tiny.py', '../_base_/schedules/adamw_cosine.py', '../_base_/default_runtime.py',
]
model = dict(pretrained=None, adapter=None, train_backbone=True, max_target_len=24)
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='TextToTextJson',
        data_root='data/toy_world/glue/',
        ann_file='pretrain.jsonl',
        pipeline=[dict(type='PackTexts')]))
optim_wrapper = dict(optimizer=dict(lr=3e-3, weight_decay=0.0), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=4)
