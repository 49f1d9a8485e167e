# A base of the retrieval models here: towers of a few layers, pictures as videos of one frame.
_base_ = [
    '../../configs/_base_/default_runtime.py',
    '../../configs/_base_/schedules/adamw_cosine.py',
]
data_root = 'data/projects/'

arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
bert = dict(
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    intermediate_size=64,
    encoder_width=32,
    vocab_size=189,
)
model = dict(
    type='RetrievalModel',
    visual=dict(type='BlipViT', arch=arch, img_size=32, patch_size=8),
    text=dict(type='BertModel', **bert),
    embed_dim=16,
    queue_size=48,
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        max_text_len=12,
        tokenizer=dict(vocab_file='configs/tiny/vocab.txt'),
    ),
)

pipeline = [
    dict(type='LoadVideo', num_frames=1),
    dict(type='VideoResize', size=32),
    dict(type='CleanCaption'),
    dict(type='PackInputs'),
]
dataset = dict(
    type='RetrievalJsonDataset', data_root=data_root, data_prefix=dict(media=''), pipeline=pipeline
)
train_dataloader = dict(
    batch_size=24,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    dataset=dict(ann_file='train.jsonl', **dataset),
)
val_dataloader = dict(
    batch_size=24,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(ann_file='test.jsonl', test_mode=True, **dataset),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='RetrievalMetric', names=('t2i', 'i2t'))
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2)
val_cfg = dict(type='RetrievalValLoop', k_test=8)
test_cfg = dict(type='RetrievalTestLoop', k_test=8)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
