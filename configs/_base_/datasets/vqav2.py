# VQAv2: train and val for training (658,111 questions), the server's test-dev for testing; nothing is left to validate on.
# vqav2_val.py trains on train alone and validates on val. docs/dataset_preparation.md shows the layout.
data_root = 'data/vqav2/'

train_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='random', backend=dict(type='image')),
    dict(type='VideoRandomResizedCrop', size=480, scale=(0.5, 1.0)),
    dict(type='VideoFlip', prob=0.5),
    dict(type='VideoRandAugment', num_ops=2, magnitude=5),
    dict(type='CleanQuestion', max_words=30),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='VideoResize', size=480),
    dict(type='CleanQuestion', max_words=30),
    dict(type='PackInputs'),
]

# 8 GPUs x 16 images = the paper's batch of 128. vg_file='vg_qa.json' adds the pairs of Visual Genome.
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    # Workers are seeded anew each epoch, so that a resumed run repeats an uninterrupted one.
    persistent_workers=False,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='VQAv2',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/'),
        question_file=[
            'v2_OpenEnded_mscoco_train2014_questions.json',
            'v2_OpenEnded_mscoco_val2014_questions.json',
        ],
        ann_file=[
            'v2_mscoco_train2014_annotations.json',
            'v2_mscoco_val2014_annotations.json',
        ],
        pipeline=train_pipeline,
    ),
)
val_dataloader = None
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='VQAv2',
        data_root=data_root,
        data_prefix=dict(media='../coco/images/'),
        question_file='v2_OpenEnded_mscoco_test-dev2015_questions.json',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = None
test_evaluator = dict(type='VQAMetric', submission_file='work_dirs/vqav2_test-dev_results.json')
