# vl_image.py with the names of the tasks in front of what is read ('vqa: ', and 'gpa: ' for GQA, as released).
_base_ = './vl_image.py'
_on = dict(
    vqa=dict(prefix=True), gqa=dict(prefix=True), nlvr=dict(prefix=True), caption=dict(prefix=True))
train_dataloader = dict(dataset=dict(datasets=_on))
val_dataloader = dict(dataset=dict(datasets=_on))
test_dataloader = dict(dataset=dict(datasets=_on))
