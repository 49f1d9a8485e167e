# MRPC of the embedded GLUE.
_base_ = './toy_world_glue.py'
train_dataloader = dict(dataset=dict(task='mrpc'))
val_dataloader = dict(dataset=dict(task='mrpc'))
test_dataloader = dict(dataset=dict(task='mrpc'))
val_evaluator = dict(task='mrpc')
test_evaluator = dict(task='mrpc')
