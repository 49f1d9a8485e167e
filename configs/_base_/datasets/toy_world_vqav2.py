# The twin of VQAv2: questions about COCO's photos of training for training, of val2014 for testing, as vqav2_val.py.
data_root = 'data/toy_world/vqav2/'

# No crop and no flip: questions say left and right, and 48 pixels are few.
train_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='random', backend=dict(type='image')),
    dict(type='VideoResize', size=48),
    dict(type='CleanQuestion', max_words=30),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='VideoResize', size=48),
    dict(type='CleanQuestion', max_words=30),
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
        type='VQAv2',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/'),
        question_file='v2_OpenEnded_mscoco_train2014_questions.json',
        ann_file='v2_mscoco_train2014_annotations.json',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='VQAv2',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/'),
        question_file='v2_OpenEnded_mscoco_val2014_questions.json',
        ann_file='v2_mscoco_val2014_annotations.json',
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='VQAv2',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/'),
        question_file='v2_OpenEnded_mscoco_val2014_questions.json',
        ann_file='v2_mscoco_val2014_annotations.json',
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = dict(type='VQAMetric')
test_evaluator = val_evaluator
