# RefCOCO+ in MDETR's files, as refcoco_grounding.py.
_base_ = './refcoco_grounding.py'
train_dataloader = dict(dataset=dict(ann_file='finetune_refcoco+_train.json'))
val_dataloader = dict(dataset=dict(ann_file='finetune_refcoco+_val.json'))
test_dataloader = dict(
    dataset=dict(ann_file=['finetune_refcoco+_testA.json', 'finetune_refcoco+_testB.json']))
