# STS-B of GLUE: mean of Pearson's and Spearman's correlation.
_base_ = './glue.py'
train_dataloader = dict(dataset=dict(task='stsb'))
val_dataloader = dict(dataset=dict(task='stsb'))
test_dataloader = dict(dataset=dict(task='stsb'))
val_evaluator = dict(task='stsb')
test_evaluator = dict(task='stsb')
