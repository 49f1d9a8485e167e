# MSR-VTT, 1k-A: 9,000 training and 1,000 test videos. docs/dataset_preparation.md shows the layout.
data_root = 'data/msrvtt/'

train_pipeline = [
    dict(type='LoadVideo', num_frames=8, sampling='random'),
    dict(type='VideoRandomResizedCrop', size=224, scale=(0.5, 1.0)),
    dict(type='VideoFlip', prob=0.5),
    dict(type='CleanCaption', max_words=30),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=16, sampling='center'),
    dict(type='VideoResize', size=224),
    dict(type='CleanCaption', max_words=30),
    dict(type='PackInputs'),
]

# 8 GPUs x 8 videos = the paper's batch of 64.
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    # Workers are seeded anew each epoch, so that a resumed run repeats an uninterrupted one.
    persistent_workers=False,
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
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='MSRVTTRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        split_file='MSRVTT_JSFUSION_test.csv',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='RetrievalMetric')
test_evaluator = val_evaluator
