# VL-Adapter's four image tasks, trained jointly: VL-T5's files and CLIP's grids (docs/dataset_preparation.md).
data_root = 'data/vl_adapter/'
_pipeline = [dict(type='PackFeatures')]
_grids = dict(type='hdf5', shape=(49, 2048))
_coco = dict(**_grids, root='COCO/clip_features/data_clip_RN101_att')
_vg = dict(**_grids, root='VG/clip_features/data_clip_RN101_att')
_gqa = dict(**_grids, root='GQA/clip_features/data_clip_RN101_att')
_nlvr = dict(**_grids, root='nlvr/clip_features/data_clip_RN101_att')
_answers = 'vqa/v2_mscoco_val2014_annotations.json'
_train = dict(data_root=data_root, pipeline=_pipeline, prefix=False)
_test = dict(data_root=data_root, pipeline=_pipeline, prefix=False, test_mode=True)

# Of a batch of 500 questions of VQA: 833 of GQA, 166 statements, 416 captions.
train_dataloader = dict(
    batch_size=500,
    num_workers=4,
    worker_init_fn=dict(type='uniadapter.seed_worker'),
    sampler=dict(type='DefaultSampler', shuffle=True, seed=0),
    batch_sampler=dict(
        type='JointBatchSampler', shares=dict(gqa=(100, 60), nlvr=(20, 60), caption=(50, 60))),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='JointDataset',
        datasets=dict(
            vqa=dict(
                **_train, type='FeatureVQA', task='vqa', ann_file='vqa/karpathy_train.json', features=_coco),
            gqa=dict(
                **_train,
                type='FeatureVQA',
                task='gqa',
                ann_file=['GQA/train.json', 'GQA/valid.json'],
                features=_vg),
            nlvr=dict(**_train, type='FeatureNLVR2', ann_file='nlvr/train.json', features=_nlvr),
            caption=dict(
                **_train,
                type='FeatureCaption',
                ann_file='COCO/dataset_coco.json',
                split='train',
                features=_coco))))

# GQA is validated and tested on test-dev, as the published figures are.
_gqa_test = dict(
    **_test, type='FeatureVQA', task='gqa', ann_file='GQA/testdev.json', features=_gqa)
_in_order = dict(
    batch_size=100,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    batch_sampler=dict(type='JointBatchSampler'),
    collate_fn=dict(type='pseudo_collate'))
val_dataloader = dict(
    **_in_order,
    dataset=dict(
        type='JointDataset',
        datasets=dict(
            vqa=dict(
                **_test,
                type='FeatureVQA',
                task='vqa',
                ann_file='vqa/karpathy_val.json',
                annotations=_answers,
                features=_coco),
            gqa=_gqa_test,
            nlvr=dict(**_test, type='FeatureNLVR2', ann_file='nlvr/valid.json', features=_nlvr),
            caption=dict(
                **_test,
                type='FeatureCaption',
                ann_file='COCO/dataset_coco.json',
                split='val',
                features=_coco))))
test_dataloader = dict(
    **_in_order,
    dataset=dict(
        type='JointDataset',
        datasets=dict(
            vqa=dict(
                **_test,
                type='FeatureVQA',
                task='vqa',
                ann_file='vqa/karpathy_test.json',
                annotations=_answers,
                features=_coco),
            gqa=_gqa_test,
            nlvr=dict(**_test, type='FeatureNLVR2', ann_file='nlvr/test.json', features=_nlvr),
            caption=dict(
                **_test,
                type='FeatureCaption',
                ann_file='COCO/dataset_coco.json',
                split='test',
                features=_coco))))

_metrics = dict(
    vqa=dict(type='VQAMetric', prediction='pred_text', protocol='older'),
    gqa=dict(type='SoftVQAMetric', prediction='pred_text'),
    nlvr=dict(type='NLVR2Metric'),
    caption=dict(type='CaptionMetric', prediction='pred_text'))
_average = dict(vqa='accuracy', gqa='accuracy', nlvr='accuracy', caption='CIDEr')
val_evaluator = dict(type='JointEvaluator', metrics=_metrics, average=_average)
test_evaluator = dict(type='JointEvaluator', metrics=_metrics, average=_average)
