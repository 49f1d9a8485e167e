# Flickr30K, Karpathy split: 29,000 / 1,014 / 1,000 images. docs/dataset_preparation.md shows the layout.
data_root = 'data/flickr30k/'

train_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='random', backend=dict(type='image')),
    dict(type='VideoRandomResizedCrop', size=384, scale=(0.5, 1.0)),
    dict(type='VideoFlip', prob=0.5),
    dict(type='VideoRandAugment', num_ops=2, magnitude=5),
    dict(type='CleanCaption', max_words=30),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='VideoResize', size=384),
    dict(type='CleanCaption', max_words=30),
    dict(type='PackInputs'),
]

# 8 GPUs x 32 images = the paper's batch of 256.
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    # Workers are seeded anew each epoch, so that a resumed run repeats an uninterrupted one.
    persistent_workers=False,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='KarpathyRetrieval',
        data_root=data_root,
        data_prefix=dict(media=''),
        ann_file='annotations/flickr30k_train.json',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='KarpathyRetrieval',
        data_root=data_root,
        data_prefix=dict(media=''),
        ann_file='annotations/flickr30k_val.json',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='KarpathyRetrieval',
        data_root=data_root,
        data_prefix=dict(media=''),
        ann_file='annotations/flickr30k_test.json',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='RetrievalMetric', names=('t2i', 'i2t'))
test_evaluator = val_evaluator
