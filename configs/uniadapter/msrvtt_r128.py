# tools/dist_train.sh configs/uniadapter/msrvtt_r128.py 8
# Paper, table 5, UniAdapter r=128, MSR-VTT, tested on 8 frames: R@1 49.7, R@5 71.9, R@10 81.5, MdR 2. Here 16, as in table 16.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=dict(bottleneck=128))
