# MSVD as CLIP4Clip reads it: 1,200 / 100 / 670 videos, every caption a sample. docs/unipt_clip4clip.md shows the layout.
_base_ = './msrvtt_clip4clip.py'
data_root = 'data/msvd/'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MSVDRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        ann_file='raw-captions.json',
        split_file='train_list.txt',
        pipeline=_base_.pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MSVDRetrieval',
        data_root=data_root,
        data_prefix=dict(media='videos/'),
        ann_file='raw-captions.json',
        split_file='test_list.txt',
        pipeline=_base_.pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
