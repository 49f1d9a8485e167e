# tools/dist_train.sh configs/uniadapter/msrvtt_r512.py 8
# Paper, table 5, UniAdapter r=512, MSR-VTT, tested on 16 frames: R@1 50.5, R@5 73.9, R@10 81.7, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=dict(bottleneck=512))
