# Texts of the embedded world with what is to be written, for a language model to begin with (docs/embedded_data.md).
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='TextToTextJson',
        data_root='data/toy_world/vl/',
        ann_file='pretrain_bart.jsonl',
        pipeline=[dict(type='PackTexts')]))
