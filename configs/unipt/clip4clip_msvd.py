# tools/dist_train.sh configs/unipt/clip4clip_msvd.py 4
# UniPT beside CLIP4Clip, MSVD: T2V / V2T R@1 40.9 / 59.7 (paper: arXiv 2605.04058, table 1).
_base_ = [
    '../_base_/models/clip_b32_clip4clip.py', '../_base_/datasets/msvd_clip4clip.py',
    '../_base_/schedules/bert_adam_5e_bs128.py', '../_base_/clip4clip_runtime.py',
]
