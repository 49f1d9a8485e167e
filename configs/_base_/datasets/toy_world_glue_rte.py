# RTE of the embedded GLUE.
_base_ = './toy_world_glue.py'
train_dataloader = dict(dataset=dict(task='rte'))
val_dataloader = dict(dataset=dict(task='rte'))
test_dataloader = dict(dataset=dict(task='rte'))
val_evaluator = dict(task='rte')
test_evaluator = dict(task='rte')
