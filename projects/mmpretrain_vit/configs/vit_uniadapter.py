# python tools/train.py projects/mmpretrain_vit/configs/vit_uniadapter.py
# No row of a paper: another project's classifier on its own backbone.
_base_ = '../../configs/classifier.py'

arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
model = dict(
    backbone=dict(
        type='uniadapter.AdaptedBackbone',
        backbone=dict(type='VisionTransformer', arch=arch, img_size=32, patch_size=8),
        adapter=dict(type='uniadapter.UniAdapter', towers=['visual'], bottleneck=8),
    ),
    head=dict(in_channels=32),
)
custom_hooks = [dict(type='uniadapter.EMAHook', momentum=0.2)]
