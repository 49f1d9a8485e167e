# VQAv2 in LXMERT's files: train and nominival for training, minival for validation, the server's questions for testing.
# docs/unipt_clip_vil.md shows the layout.
data_root = 'data/vqa/'

pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='FitAndPad', long_side=640, short_side=384),
    dict(type='PackInputs'),
]

# 4 GPUs x 32 pictures x 8 steps = the published batch of 1,024. Batches lie (384 x 640) or stand (640 x 384).
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    # Workers are seeded anew each epoch, so that a resumed run repeats an uninterrupted one.
    persistent_workers=False,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='OrientedBatchSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='LxmertVQA',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/'),
        ann_file=['train.json', 'nominival.json'],
        label2ans='trainval_label2ans.json',
        ans2label='trainval_ans2label.json',
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
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
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    batch_sampler=dict(type='OrientedBatchSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='LxmertVQA',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/'),
        ann_file='test.json',
        label2ans='trainval_label2ans.json',
        ans2label='trainval_ans2label.json',
        pipeline=pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='SoftVQAMetric')
test_evaluator = dict(
    type='SoftVQAMetric',
    submission_file='work_dirs/clip_vil_vqav2_results.json')
