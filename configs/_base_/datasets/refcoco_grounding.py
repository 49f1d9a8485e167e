# RefCOCO in MDETR's files, pictures of COCO's train2014. docs/unipt_mdetr.md shows the layout.
data_root = 'data/refcoco/'
scales = [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800]

# Half of the pictures are cut; none is flipped, as expressions speak of left and right.
train_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='CheckPicture'),
    dict(type='BoxCrop', sizes=[400, 500, 600], least=384, most=1333, prob=0.5),
    dict(type='BoxResize', sizes=scales, longest=1333),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='CheckPicture'),
    dict(type='BoxResize', sizes=[800], longest=1333),
    dict(type='PackInputs'),
]

# 2 GPUs x 4 pictures = the published batch of 8.
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    # Workers are seeded anew each epoch, so that a resumed run repeats an uninterrupted one.
    persistent_workers=False,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='ReferringExpressions',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/train2014/'),
        ann_file='finetune_refcoco_train.json',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='ReferringExpressions',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/train2014/'),
        ann_file='finetune_refcoco_val.json',
        pipeline=test_pipeline,
        test_mode=True))
# Both test splits in one run, with figures of each.
test_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='ReferringExpressions',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/train2014/'),
        ann_file=['finetune_refcoco_testA.json', 'finetune_refcoco_testB.json'],
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = dict(type='GroundingMetric')
test_evaluator = dict(type='GroundingMetric')
