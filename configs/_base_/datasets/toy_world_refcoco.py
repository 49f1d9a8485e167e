# The twin of RefCOCO in the embedded data, in MDETR's format: pictures of up to 96 x 96 pixels, taken by another camera.
_base_ = './refcoco_grounding.py'
data_root = 'data/toy_world/refcoco/'
train_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='CheckPicture'),
    dict(type='BoxCrop', sizes=[80, 96], least=64, most=128, prob=0.2),
    dict(type='BoxResize', sizes=[64, 72], longest=96),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadVideo', num_frames=1, sampling='center', backend=dict(type='image')),
    dict(type='CheckPicture'),
    dict(type='BoxResize', sizes=[72], longest=96),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    dataset=dict(data_root=data_root, data_prefix=dict(media='train2014/'), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, data_prefix=dict(media='train2014/'), pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, data_prefix=dict(media='train2014/'), pipeline=test_pipeline))
