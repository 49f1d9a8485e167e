# VL-Adapter's four video tasks, trained jointly: VALUE's files and CLIP's frames (docs/dataset_preparation.md).
data_root = 'data/vl_adapter/video/'
_pipeline = [dict(type='PackFeatures')]
_frames = dict(type='npz', shape=(None, 512))
_common = dict(data_root=data_root, pipeline=_pipeline, prefix=True)
_tv = dict(
    **_common,
    features=dict(**_frames, root='vis_features/tv/clip-vit'),
    subtitles='ann/tv_subtitles.jsonl')
_how2 = dict(
    **_common,
    features=dict(**_frames, root='vis_features/how2/clip-vit'),
    subtitles='ann/how2_subtitles.jsonl')
_yc2 = dict(
    **_common,
    features=dict(**_frames, root='vis_features/yc2/clip-vit'),
    subtitles='ann/yc2_subtitles.jsonl')
_tvqa = dict(**_tv, type='FeatureVideoQA', task='tvqa')
_how2qa = dict(**_how2, type='FeatureVideoQA', task='how2qa')
_tvc = dict(**_tv, type='FeatureVideoCaption', task='tvc')
_yc2c = dict(**_yc2, type='FeatureVideoCaption', task='yc2c')

train_dataloader = dict(
    batch_size=50,
    num_workers=4,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    sampler=dict(type='DefaultSampler', shuffle=True, seed=0),
    batch_sampler=dict(type='JointBatchSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='JointDataset',
        datasets=dict(
            tvqa=dict(**_tvqa, ann_file='ann/tvqa/tvqa_train.jsonl'),
            how2qa=dict(**_how2qa, ann_file='ann/how2qa/how2qa_train_release.jsonl'),
            tvc=dict(**_tvc, ann_file='ann/tvc/tvc_train_release.jsonl'),
            yc2c=dict(**_yc2c, ann_file='ann/yc2c/yc2c_train_release.jsonl'))))
_in_order = dict(
    batch_size=50,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    batch_sampler=dict(type='JointBatchSampler'),
    collate_fn=dict(type='pseudo_collate'))
# Every description is compared with itself alone, so that these are not the figures of VALUE's server.
val_dataloader = dict(
    **_in_order,
    dataset=dict(
        type='JointDataset',
        datasets=dict(
            tvqa=dict(**_tvqa, ann_file='ann/tvqa/tvqa_val.jsonl', test_mode=True),
            how2qa=dict(**_how2qa, ann_file='ann/how2qa/how2qa_val_release.jsonl', test_mode=True),
            tvc=dict(**_tvc, ann_file='ann/tvc/tvc_val_release.jsonl', test_mode=True),
            yc2c=dict(**_yc2c, ann_file='ann/yc2c/yc2c_val_release.jsonl', test_mode=True))))
val_evaluator = dict(
    type='JointEvaluator',
    metrics=dict(
        tvqa=dict(type='ChoiceMetric'),
        how2qa=dict(type='ChoiceMetric'),
        tvc=dict(type='VideoCaptionMetric'),
        yc2c=dict(type='VideoCaptionMetric')),
    average=dict(tvqa='accuracy', how2qa='accuracy', tvc='CIDEr', yc2c='CIDEr'))
# The test files have no truths: predictions are written as VALUE's server takes them.
test_dataloader = dict(
    **_in_order,
    dataset=dict(
        type='JointDataset',
        datasets=dict(
            tvqa=dict(**_tvqa, ann_file='ann/tvqa/tvqa_test_public.jsonl', test_mode=True),
            how2qa=dict(
                **_how2qa, ann_file='ann/how2qa/how2qa_test_public_release.jsonl', test_mode=True),
            tvc=dict(**_tvc, ann_file='ann/tvc/tvc_test_release.jsonl', test_mode=True),
            yc2c=dict(**_yc2c, ann_file='ann/yc2c/yc2c_test_release.jsonl', test_mode=True))))
_value = 'work_dirs/value'
test_evaluator = dict(
    type='JointEvaluator',
    metrics=dict(
        tvqa=dict(
            type='ChoiceMetric',
            submission_file=f'{_value}/tvqa/tvqa_test_public_predictions.json'),
        how2qa=dict(
            type='ChoiceMetric',
            submission_file=f'{_value}/how2qa/how2qa_test_public_predictions.json'),
        tvc=dict(
            type='VideoCaptionMetric',
            results_file=f'{_value}/tvc/tvc_test_public_predictions.jsonl'),
        yc2c=dict(
            type='VideoCaptionMetric',
            results_file=f'{_value}/yc2c/yc2c_test_predictions.jsonl')),
    average=None)
