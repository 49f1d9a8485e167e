# The twin of DiDeMo: 800 / 64 / 200 videos of two moments, which a paragraph tells of (docs/embedded_data.md).
data_root = 'data/toy_world/didemo/'

# No crop and no flip: captions say left and right, and 48 pixels are few.
train_pipeline = [
    dict(type='LoadVideo', num_frames=8, sampling='random'),
    dict(type='VideoResize', size=48),
    dict(type='CleanCaption', max_words=60),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=8, sampling='center'),
    dict(type='VideoResize', size=48),
    dict(type='CleanCaption', max_words=60),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='DiDeMoRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        ann_file='train_data.json',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='DiDeMoRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        ann_file='val_data.json',
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=32,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='DiDeMoRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        ann_file='test_data.json',
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = dict(type='RetrievalMetric')
test_evaluator = val_evaluator
