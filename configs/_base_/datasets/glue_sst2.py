# SST-2 of GLUE: accuracy.
_base_ = './glue.py'
train_dataloader = dict(dataset=dict(task='sst2'))
val_dataloader = dict(dataset=dict(task='sst2'))
test_dataloader = dict(dataset=dict(task='sst2'))
val_evaluator = dict(task='sst2')
test_evaluator = dict(task='sst2')
