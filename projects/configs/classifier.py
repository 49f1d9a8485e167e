# A base of the classifiers here: mmpretrain's model, data set and metric, our checkpoints.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['uniadapter'], allow_failed_imports=False)
data_root = 'data/projects/'

model = dict(
    type='ImageClassifier',
    head=dict(type='VisionTransformerClsHead', num_classes=3),
    data_preprocessor=dict(mean=[110.0] * 3, std=[60.0] * 3, to_rgb=True),
)

pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=12,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root=data_root + 'train', pipeline=pipeline),
)
val_dataloader = dict(
    batch_size=12,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root=data_root + 'test', pipeline=pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy')
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=6)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    constructor='uniadapter.TrainableOptimWrapperConstructor',  # none of what is frozen
    optimizer=dict(type='AdamW', lr=1e-2))
# What is trained alone is saved, in files that torch reads without unpickling.
default_hooks = dict(checkpoint=dict(type='uniadapter.SafeCheckpointHook', interval=1))
randomness = dict(seed=0)
