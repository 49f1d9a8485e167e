# tools/dist_train.sh configs/unipt/clip4clip_msrvtt.py 4
# UniPT beside CLIP4Clip, MSR-VTT 9k: T2V / V2T R@1 38.9 / 39.3 (paper: arXiv 2605.04058, table 1).
_base_ = [
    '../_base_/models/clip_b32_clip4clip.py', '../_base_/datasets/msrvtt_clip4clip.py',
    '../_base_/schedules/bert_adam_5e_bs128.py', '../_base_/clip4clip_runtime.py',
]
