# VL-Adapter's image tasks about the embedded photos, in the published files (docs/embedded_data.md).
_base_ = './vl_image_prefix.py'
data_root = 'data/toy_world/vl/'
_npz = dict(type='npz', shape=(49, 128))
_all = dict(
    vqa=dict(data_root=data_root, features=_npz),
    gqa=dict(data_root=data_root, features=_npz),
    nlvr=dict(data_root=data_root, features=_npz),
    caption=dict(data_root=data_root, features=_npz))
train_dataloader = dict(batch_size=60, num_workers=0, dataset=dict(datasets=_all))
val_dataloader = dict(batch_size=100, num_workers=0, dataset=dict(datasets=_all))
test_dataloader = dict(batch_size=100, num_workers=0, dataset=dict(datasets=_all))
