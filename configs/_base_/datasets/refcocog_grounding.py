# RefCOCOg in MDETR's files, as refcoco_grounding.py; it has one test split.
_base_ = './refcoco_grounding.py'
train_dataloader = dict(dataset=dict(ann_file='finetune_refcocog_train.json'))
val_dataloader = dict(dataset=dict(ann_file='finetune_refcocog_val.json'))
test_dataloader = dict(dataset=dict(ann_file='finetune_refcocog_test.json'))
