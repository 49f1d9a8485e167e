# PYTHONPATH=. python tools/train.py projects/new_backbone/configs/mixer_uniadapter.py
# No row of a paper: a backbone from outside of the package, in mmpretrain's classifier.
_base_ = '../../configs/classifier.py'
custom_imports = dict(imports=['uniadapter', 'projects.new_backbone.mixer'])

model = dict(
    backbone=dict(
        type='uniadapter.AdaptedBackbone',
        backbone=dict(type='uniadapter.Mixer', width=32),
        adapter=dict(type='uniadapter.UniAdapter', towers=['visual'], bottleneck=8),
    ),
    head=dict(type='LinearClsHead', in_channels=32),
)
