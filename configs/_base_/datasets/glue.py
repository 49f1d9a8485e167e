# GLUE's published TSV files as text to text (docs/dataset_preparation.md); a task's file says which.
data_root = 'data/glue/'
pipeline = [dict(type='PackTexts')]

train_dataloader = dict(
    batch_size=100,
    num_workers=2,
    persistent_workers=True,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='GLUE', split='train', data_root=data_root, pipeline=pipeline))
val_dataloader = dict(
    batch_size=100,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='GLUE', split='val', data_root=data_root, pipeline=pipeline, test_mode=True))
test_dataloader = dict(
    batch_size=100,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='GLUE', split='test', data_root=data_root, pipeline=pipeline, test_mode=True))

val_evaluator = dict(type='GLUEMetric')
test_evaluator = dict(type='GLUEMetric')
