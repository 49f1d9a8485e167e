# tools/dist_train.sh configs/unipt/clip4clip_msrvtt_full_finetune.py 4
# Full fine-tuning of CLIP4Clip (meanP), MSR-VTT 9k: T2V / V2T R@1 42.8 / 42.1 (paper: arXiv 2605.04058, table 1).
_base_ = './clip4clip_msrvtt.py'
model = dict(adapter=None, train_backbone=True, contrast=dict(train_temperature=True))
# All weights are CLIP's, which CLIP4Clip trains at a thousandth of its rate of 1e-4.
optim_wrapper = dict(optimizer=dict(lr=1e-7))
