# MRPC of GLUE: mean of F1 and accuracy.
_base_ = './glue.py'
train_dataloader = dict(dataset=dict(task='mrpc'))
val_dataloader = dict(dataset=dict(task='mrpc'))
test_dataloader = dict(dataset=dict(task='mrpc'))
val_evaluator = dict(task='mrpc')
test_evaluator = dict(task='mrpc')
