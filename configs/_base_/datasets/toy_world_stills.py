# The stills of the embedded data: all but the last 400 for pre-training, those 400 to look at the result.
data_root = 'data/toy_world/stills/'
pipeline = [dict(type='CleanCaption', max_words=30), dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='StillCaptionDataset',
        data_root=data_root,
        ann_file='captions.json',
        image_file='images.npy',
        indices=19600,
        pipeline=pipeline))
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='StillCaptionDataset',
        data_root=data_root,
        ann_file='captions.json',
        image_file='images.npy',
        indices=-400,
        pipeline=pipeline,
        test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='RetrievalMetric')
test_evaluator = val_evaluator
