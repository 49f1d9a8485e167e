# RTE of GLUE: accuracy.
_base_ = './glue.py'
train_dataloader = dict(dataset=dict(task='rte'))
val_dataloader = dict(dataset=dict(task='rte'))
test_dataloader = dict(dataset=dict(task='rte'))
val_evaluator = dict(task='rte')
test_evaluator = dict(task='rte')
