# MNLI of GLUE: accuracy.
_base_ = './glue.py'
train_dataloader = dict(dataset=dict(task='mnli'))
val_dataloader = dict(dataset=dict(task='mnli'))
test_dataloader = dict(dataset=dict(task='mnli'))
val_evaluator = dict(task='mnli')
test_evaluator = dict(task='mnli')
