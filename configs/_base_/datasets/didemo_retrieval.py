# DiDeMo, paragraph-to-video: 8,395 / 1,065 / 1,004 videos. docs/dataset_preparation.md shows the
# layout. A paragraph is longer than a caption: give the model's data_preprocessor max_text_len=64.
data_root = 'data/didemo/'

train_pipeline = [
    dict(type='LoadVideo', num_frames=8, sampling='random'),
    dict(type='VideoRandomResizedCrop', size=224, scale=(0.5, 1.0)),
    dict(type='VideoFlip', prob=0.5),
    dict(type='CleanCaption', max_words=60),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=16, sampling='center'),
    dict(type='VideoResize', size=224),
    dict(type='CleanCaption', max_words=60),
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
        type='DiDeMoRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        ann_file='train_data.json',
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
        type='DiDeMoRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        ann_file='val_data.json',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='DiDeMoRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        ann_file='test_data.json',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='RetrievalMetric')
test_evaluator = val_evaluator
