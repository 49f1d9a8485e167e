# tools/dist_train.sh configs/adapter/msrvtt_r512.py 8
# No row of the paper: Adapter r=512 is given for DiDeMo only.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(bottleneck=512, sharing='none', query_residual='off', textual_branch=False),
    pfa=None)
