# The videos of the embedded data in MSR-VTT's format: 1,200 for training (3 captions each), 256 for testing (docs/embedded_data.md).
data_root = 'data/toy_world/msrvtt/'

# No crop and no flip: captions say left and right, and 48 pixels are few.
train_pipeline = [
    dict(type='LoadVideo', num_frames=8, sampling='random'),
    dict(type='VideoResize', size=48),
    dict(type='CleanCaption', max_words=30),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=8, sampling='center'),
    dict(type='VideoResize', size=48),
    dict(type='CleanCaption', max_words=30),
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
        type='MSRVTTRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        ann_file='MSRVTT_data.json',
        split_file='MSRVTT_train.9k.csv',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='MSRVTTRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        split_file='MSRVTT_JSFUSION_test.csv',
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='RetrievalMetric')
test_evaluator = val_evaluator
