# The twin of MSRVTT-QA: questions about the videos of toy_world_retrieval.py (docs/embedded_data.md).
data_root = 'data/toy_world/msrvtt_qa/'

# Half of the usual frames: the questions are of what an event shows, which is in one or two of four.
# No crop and no flip: questions say left and right, and 48 pixels are few.
train_pipeline = [
    dict(type='LoadVideo', num_frames=4, sampling='random'),
    dict(type='VideoResize', size=48),
    dict(type='CleanQuestion', max_words=30),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=4, sampling='center'),
    dict(type='VideoResize', size=48),
    dict(type='CleanQuestion', max_words=30),
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
        type='MSRVTTQA',
        data_root=data_root,
        data_prefix=dict(media='../msrvtt/videos/'),
        ann_file='train_qa.json',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='MSRVTTQA',
        data_root=data_root,
        data_prefix=dict(media='../msrvtt/videos/'),
        ann_file='val_qa.json',
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=32,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='MSRVTTQA',
        data_root=data_root,
        data_prefix=dict(media='../msrvtt/videos/'),
        ann_file='test_qa.json',
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = dict(type='QAExactMatch')
test_evaluator = val_evaluator
