# Flickr30K, Karpathy split: 29,000 / 1,014 / 1,000 images. docs/dataset_preparation.md shows the layout.
# Pipelines, loaders and measures are COCO's.
_base_ = './coco_retrieval.py'
data_root = 'data/flickr30k/'

train_dataloader = dict(
    dataset=dict(
        data_root=data_root, data_prefix=dict(media=''), ann_file='annotations/flickr30k_train.json'))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, data_prefix=dict(media=''), ann_file='annotations/flickr30k_val.json'))
test_dataloader = dict(
    dataset=dict(
        data_root=data_root, data_prefix=dict(media=''), ann_file='annotations/flickr30k_test.json'))
