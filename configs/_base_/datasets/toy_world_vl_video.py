# TVQA and TVC about the embedded videos, in the published files; tested on the files of val (docs/embedded_data.md).
data_root = 'data/toy_world/vl/video/'
_common = dict(
    data_root=data_root,
    pipeline=[dict(type='PackFeatures')],
    features=dict(type='npz', root='vis_features/tv/clip-vit', shape=(None, 128)),
    subtitles='ann/tv_subtitles.jsonl',
    num_frames=20,
    prefix=True)
_tvqa = dict(**_common, type='FeatureVideoQA', task='tvqa')
_tvc = dict(**_common, type='FeatureVideoCaption', task='tvc')
train_dataloader = dict(
    batch_size=50,
    num_workers=0,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    sampler=dict(type='DefaultSampler', shuffle=True, seed=0),
    batch_sampler=dict(type='JointBatchSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='JointDataset',
        datasets=dict(
            tvqa=dict(**_tvqa, ann_file='ann/tvqa/tvqa_train.jsonl'),
            tvc=dict(**_tvc, ann_file='ann/tvc/tvc_train_release.jsonl'))))
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    batch_sampler=dict(type='JointBatchSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='JointDataset',
        datasets=dict(
            tvqa=dict(**_tvqa, ann_file='ann/tvqa/tvqa_val.jsonl', test_mode=True),
            tvc=dict(**_tvc, ann_file='ann/tvc/tvc_val_release.jsonl', test_mode=True))))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='JointEvaluator',
    metrics=dict(tvqa=dict(type='ChoiceMetric'), tvc=dict(type='VideoCaptionMetric')),
    average=dict(tvqa='accuracy', tvc='CIDEr'))
test_evaluator = val_evaluator
