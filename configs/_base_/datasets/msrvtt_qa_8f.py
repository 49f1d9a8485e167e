# MSRVTT-QA as in the paper's ablation studies: 8 frames at test as well.
_base_ = './msrvtt_qa.py'
test_pipeline = [
    dict(type='LoadVideo', num_frames=8, sampling='center'),
    dict(type='VideoResize', size=384),
    dict(type='CleanQuestion', max_words=30),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
