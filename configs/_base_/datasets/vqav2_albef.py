# VQAv2 with ALBEF's pipelines: 384 pixels, RandAugment at magnitude 7, its own cleaning of questions.
_base_ = './vqav2.py'

train_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='random', backend=dict(type='image')),
    dict(type='VideoRandomResizedCrop', size=384, scale=(0.5, 1.0)),
    dict(type='VideoFlip', prob=0.5),
    dict(type='VideoRandAugment', num_ops=2, magnitude=7),
    dict(type='CleanQuestion', max_words=30, style='albef'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='VideoResize', size=384),
    dict(type='CleanQuestion', max_words=30, style='albef'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
