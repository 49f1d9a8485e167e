# The twin of COCO retrieval: 1,500 / 100 / 250 photos with five captions each, in BLIP's files (docs/embedded_data.md).
data_root = 'data/toy_world/coco/'

# No crop and no flip: captions say left and right, and 48 pixels are few.
train_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='random', backend=dict(type='image')),
    dict(type='VideoResize', size=48),
    dict(type='CleanCaption', max_words=30),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='VideoResize', size=48),
    dict(type='CleanCaption', max_words=30),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='KarpathyRetrieval',
        data_root=data_root,
        data_prefix=dict(media='images/'),
        ann_file='annotations/coco_karpathy_train.json',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='KarpathyRetrieval',
        data_root=data_root,
        data_prefix=dict(media='images/'),
        ann_file='annotations/coco_karpathy_val.json',
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=50,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='KarpathyRetrieval',
        data_root=data_root,
        data_prefix=dict(media='images/'),
        ann_file='annotations/coco_karpathy_test.json',
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = dict(type='RetrievalMetric', names=('t2i', 'i2t'))
test_evaluator = val_evaluator
