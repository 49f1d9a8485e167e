# PYTHONPATH=. python tools/train.py projects/other_scope/configs/video_text_pfa.py
# No row of a paper: parts of this package in a model of another scope.
default_scope = 'mmpretrain'
custom_imports = dict(
    imports=['uniadapter', 'projects.other_scope.video_text'], allow_failed_imports=False
)

arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
model = dict(
    type='VideoText',
    frames=dict(type='VisionTransformer', arch=arch, img_size=32, patch_size=8),
    width=32,
    words=187,
    attention=dict(type='uniadapter.FrameAwareAttention'),
    contrast=dict(type='uniadapter.BatchContrastHead', embed_dim=16),
    data_preprocessor=dict(
        type='uniadapter.MultimodalDataPreprocessor',
        max_text_len=12,
        tokenizer=dict(vocab_file='configs/tiny/vocab.txt'),
    ),
)

pipeline = [
    dict(type='uniadapter.LoadVideo', num_frames=2),
    dict(type='uniadapter.VideoResize', size=32),
    dict(type='uniadapter.CleanCaption'),
    dict(type='uniadapter.PackInputs'),
]
dataset = dict(
    type='uniadapter.RetrievalJsonDataset',
    data_root='data/projects/',
    data_prefix=dict(media=''),
    pipeline=pipeline,
)
train_dataloader = dict(
    batch_size=24,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(ann_file='train.jsonl', **dataset),
)
val_dataloader = dict(
    batch_size=1000,  # the split in one batch, so that scores are those of the whole gallery
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(ann_file='test.jsonl', **dataset),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='uniadapter.RetrievalMetric')
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2))
default_hooks = dict(checkpoint=dict(type='uniadapter.SafeCheckpointHook', interval=1))
randomness = dict(seed=0)
