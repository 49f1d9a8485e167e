# The twin of VQAv2 in LXMERT's files: questions about COCO's photos of training for training, of val2014 for testing.
data_root = 'data/toy_world/vqa_lxmert/'

# Photos of 64 x 64 pixels on a canvas of 64 x 96: a grid of 2 x 3.
pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='FitAndPad', long_side=96, short_side=64),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='OrientedBatchSampler', drop_last=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='LxmertVQA',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/'),
        ann_file='train.json',
        label2ans='trainval_label2ans.json',
        ans2label='trainval_ans2label.json',
        pipeline=pipeline))
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    batch_sampler=dict(type='OrientedBatchSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='LxmertVQA',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/'),
        ann_file='minival.json',
        label2ans='trainval_label2ans.json',
        ans2label='trainval_ans2label.json',
        pipeline=pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    batch_sampler=dict(type='OrientedBatchSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='LxmertVQA',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/'),
        ann_file='minival.json',
        label2ans='trainval_label2ans.json',
        ans2label='trainval_ans2label.json',
        pipeline=pipeline,
        test_mode=True))

val_evaluator = dict(type='SoftVQAMetric')
test_evaluator = val_evaluator
