# Split 0 of the stamps of tuxpaint-stamps-default: 520 / 80 / 100 pictures (docs/real_weights.md shows how they get there).
data_root = 'data/real/stamps/'

train_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='random', backend=dict(type='image')),
    dict(type='VideoResize', size=224),
    dict(type='VideoFlip', prob=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='VideoResize', size=224),
    dict(type='PackInputs'),
]
dataset = dict(
    type='RetrievalJsonDataset',
    data_root=data_root,
    data_prefix=dict(media='images/'),
    extensions=['.png'])
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(ann_file='splits/0/train.jsonl', pipeline=train_pipeline, **dataset))
val_dataloader = dict(
    batch_size=50,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(ann_file='splits/0/val.jsonl', pipeline=test_pipeline, test_mode=True, **dataset))
test_dataloader = dict(
    batch_size=50,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(ann_file='splits/0/test.jsonl', pipeline=test_pipeline, test_mode=True, **dataset))

val_evaluator = dict(type='RetrievalMetric', names=('t2i', 'i2t'))
test_evaluator = val_evaluator
