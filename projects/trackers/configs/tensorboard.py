# PYTHONPATH=. python tools/train.py projects/trackers/configs/tensorboard.py
# No row of a paper: as new_dataset/configs/table_r8.py, with TensorBoard's log beside the usual one.
_base_ = '../../new_dataset/configs/table_r8.py'

visualizer = dict(
    type='Visualizer',
    vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
