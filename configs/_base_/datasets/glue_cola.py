# CoLA of GLUE: Matthews' correlation.
_base_ = './glue.py'
train_dataloader = dict(dataset=dict(task='cola'))
val_dataloader = dict(dataset=dict(task='cola'))
test_dataloader = dict(dataset=dict(task='cola'))
val_evaluator = dict(task='cola')
test_evaluator = dict(task='cola')
