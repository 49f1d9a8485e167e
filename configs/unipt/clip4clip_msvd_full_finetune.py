# tools/dist_train.sh configs/unipt/clip4clip_msvd_full_finetune.py 4
# Full fine-tuning of CLIP4Clip (meanP), MSVD: T2V / V2T R@1 45.2 / 57.1 (paper: arXiv 2605.04058, table 1).
_base_ = './clip4clip_msvd.py'
model = dict(adapter=None, train_backbone=True, contrast=dict(train_temperature=True))
# All weights are CLIP's, which CLIP4Clip trains at a thousandth of its rate of 1e-4.
optim_wrapper = dict(optimizer=dict(lr=1e-7))
