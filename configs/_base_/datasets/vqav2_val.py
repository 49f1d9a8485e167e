# VQAv2 without its server: trains on train (443,757 questions), validates and tests on val (214,354).
_base_ = './vqav2.py'
train_dataloader = dict(
    dataset=dict(
        question_file='v2_OpenEnded_mscoco_train2014_questions.json',
        ann_file='v2_mscoco_train2014_annotations.json'))
val_dataloader = dict(
    _delete_=True,
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='VQAv2',
        data_root='data/vqav2/',
        data_prefix=dict(media='../coco/images/'),
        question_file='v2_OpenEnded_mscoco_val2014_questions.json',
        ann_file='v2_mscoco_val2014_annotations.json',
        pipeline={{_base_.test_pipeline}},
        test_mode=True))
test_dataloader = dict(
    dataset=dict(
        question_file='v2_OpenEnded_mscoco_val2014_questions.json',
        ann_file='v2_mscoco_val2014_annotations.json'))

val_evaluator = dict(_delete_=True, type='VQAMetric')
test_evaluator = dict(_delete_=True, type='VQAMetric')
