# Flickr30K at CLIP's 224 pixels: crop and flip alone; the tokenizer cleans captions.
_base_ = './flickr30k_retrieval.py'

train_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='random', backend=dict(type='image')),
    dict(type='VideoRandomResizedCrop', size=224, scale=(0.5, 1.0)),
    dict(type='VideoFlip', prob=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='VideoResize', size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
