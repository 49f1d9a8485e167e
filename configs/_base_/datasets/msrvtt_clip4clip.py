# MSR-VTT as CLIP4Clip reads it: 9,000 x 20 training captions, one frame a second. docs/unipt_clip4clip.md shows the layout.
data_root = 'data/msrvtt/'

# The same for training and test: nothing is drawn.
pipeline = [
    dict(type='LoadSeconds', max_frames=12),
    dict(type='VideoCenterCrop', size=224),
    dict(type='PackInputs'),
]

# 4 GPUs x 32 captions = the authors' batch of 128.
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
        type='MSRVTTRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        extensions=['.mp4', '.webm'],
        ann_file='MSRVTT_data.json',
        split_file='MSRVTT_train.9k.csv',
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='MSRVTTRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        extensions=['.mp4', '.webm'],
        split_file='MSRVTT_JSFUSION_test.csv',
        pipeline=pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='VideoTextMetric', total=True)
test_evaluator = val_evaluator
