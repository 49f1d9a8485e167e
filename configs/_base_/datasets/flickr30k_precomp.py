# Flickr30K as VSE-infinity reads it: precomp/{train,dev,test}_{caps,ids}.txt (docs/unipt_vse.md). Pipelines and loaders are COCO's.
_base_ = './coco_precomp.py'
data_root = 'data/flickr30k/'

train_dataloader = dict(
    dataset=dict(data_root=data_root, data_prefix=dict(media='flickr30k-images/'))
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, data_prefix=dict(media='flickr30k-images/'))
)
test_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        data_prefix=dict(media='flickr30k-images/'),
        ann_file='precomp/test_caps.txt',
    )
)
