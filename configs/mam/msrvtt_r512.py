# tools/dist_train.sh configs/mam/msrvtt_r512.py 8
# No row of the paper: MAM is given for DiDeMo only.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='MAM', prefix=30, bottleneck=512),
    pfa=None)
