# GQA in LXMERT's files: train and valid for training, testdev for validation, the server's questions (submit) for testing.
# Questions whose answer is not in the table are left out, of testdev too, as published. docs/unipt_clip_vil.md shows the layout.
_base_ = './vqav2_lxmert.py'
data_root = 'data/gqa/'

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        data_prefix=dict(media='images/'),
        ann_file=['train.json', 'valid.json'],
        unknown='drop'))
val_dataloader = dict(
    dataset=dict(data_root=data_root, data_prefix=dict(media='images/'), ann_file='testdev.json', unknown='drop'))
test_dataloader = dict(
    dataset=dict(data_root=data_root, data_prefix=dict(media='images/'), ann_file='submit.json', unknown='drop'))

test_evaluator = dict(
    submission_file='work_dirs/clip_vil_gqa_results.json',
    submission_format='gqa')
