# MSRVTT-QA: 158,581 / 12,278 / 72,821 questions about MSR-VTT's videos. docs/dataset_preparation.md shows the layout.
data_root = 'data/msrvtt_qa/'

train_pipeline = [
    dict(type='LoadVideo', num_frames=8, sampling='random'),
    dict(type='VideoRandomResizedCrop', size=384, scale=(0.5, 1.0)),
    dict(type='VideoFlip', prob=0.5),
    dict(type='VideoRandAugment', num_ops=2, magnitude=5),
    dict(type='CleanQuestion', max_words=30),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=16, sampling='center'),
    dict(type='VideoResize', size=384),
    dict(type='CleanQuestion', max_words=30),
    dict(type='PackInputs'),
]

# 8 GPUs x 3 videos = the paper's batch of 24.
train_dataloader = dict(
    batch_size=3,
    num_workers=4,
    # Workers are seeded anew each epoch, so that a resumed run repeats an uninterrupted one.
    persistent_workers=False,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='MSRVTTQA',
        data_root=data_root,
        data_prefix=dict(media='../msrvtt/videos/'),
        ann_file='train_qa.json',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='MSRVTTQA',
        data_root=data_root,
        data_prefix=dict(media='../msrvtt/videos/'),
        ann_file='val_qa.json',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='MSRVTTQA',
        data_root=data_root,
        data_prefix=dict(media='../msrvtt/videos/'),
        ann_file='test_qa.json',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='QAExactMatch')
test_evaluator = val_evaluator
