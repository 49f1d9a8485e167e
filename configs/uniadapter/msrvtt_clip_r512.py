# tools/dist_train.sh configs/uniadapter/msrvtt_clip_r512.py 8
# No row of the paper: its UniAdapter on MSR-VTT (table 5) is BLIP's.
_base_ = [
    '../_base_/models/clip_b32_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/dual_encoder_runtime.py',
]
