# QNLI of GLUE: accuracy.
_base_ = './glue.py'
train_dataloader = dict(dataset=dict(task='qnli'))
val_dataloader = dict(dataset=dict(task='qnli'))
test_dataloader = dict(dataset=dict(task='qnli'))
val_evaluator = dict(task='qnli')
test_evaluator = dict(task='qnli')
