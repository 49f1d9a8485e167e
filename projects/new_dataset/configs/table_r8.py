# PYTHONPATH=. python tools/train.py projects/new_dataset/configs/table_r8.py
# No row of a paper: a data set from outside of the package.
_base_ = '../../configs/retrieval.py'
custom_imports = dict(imports=['uniadapter', 'projects.new_dataset.table'])

model = dict(adapter=dict(type='UniAdapter', bottleneck=8))
train_dataloader = dict(dataset=dict(type='CaptionTable', ann_file='train.csv'))
val_dataloader = dict(dataset=dict(type='CaptionTable', ann_file='test.csv'))
test_dataloader = val_dataloader
