# DiDeMo as in the paper's ablation studies: 8 frames at test as well.
_base_ = './didemo_retrieval.py'
test_pipeline = [
    dict(type='LoadVideo', num_frames=8, sampling='center'),
    dict(type='VideoResize', size=224),
    dict(type='CleanCaption', max_words=60),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
