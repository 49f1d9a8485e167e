# COCO as VSE-infinity reads it: precomp/{train,dev,testall}_{caps,ids}.txt, 512 x 512 (docs/unipt_vse.md).
data_root = 'data/coco/'

train_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='random', backend=dict(type='image')),
    dict(type='VideoRatioCrop', ratio=(0.6, 1.0)),
    dict(type='VideoResize', size=512, interpolation='bilinear'),
    dict(type='VideoFlip', prob=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='VideoResize', size=512, interpolation='bilinear'),
    dict(type='PackInputs'),
]

# One GPU, as published. The last batch of an epoch is kept, though it is smaller.
train_dataloader = dict(
    batch_size=112,
    num_workers=8,
    # Workers are seeded anew each epoch, so that a resumed run repeats an uninterrupted one.
    persistent_workers=False,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='PrecompRetrieval',
        data_root=data_root,
        data_prefix=dict(media='images/'),
        ann_file='precomp/train_caps.txt',
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
        type='PrecompRetrieval',
        data_root=data_root,
        data_prefix=dict(media='images/'),
        ann_file='precomp/dev_caps.txt',
        pipeline=test_pipeline,
        test_mode=True,
        # The first 5,000 captions of dev choose the checkpoint.
        indices=1000,
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
        type='PrecompRetrieval',
        data_root=data_root,
        data_prefix=dict(media='images/'),
        ann_file='precomp/testall_caps.txt',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='RetrievalMetric', names=('t2i', 'i2t'), total=True)
test_evaluator = val_evaluator
