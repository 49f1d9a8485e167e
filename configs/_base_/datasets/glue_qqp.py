# QQP of GLUE: mean of F1 and accuracy.
_base_ = './glue.py'
train_dataloader = dict(dataset=dict(task='qqp'))
val_dataloader = dict(dataset=dict(task='qqp'))
test_dataloader = dict(dataset=dict(task='qqp'))
val_evaluator = dict(task='qqp')
test_evaluator = dict(task='qqp')
