# tools/dist_train.sh configs/pfeiffer/msrvtt_r512.py 8
# No row of the paper, which does not compare with Pfeiffer's adapter.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='BottleneckAdapter', preset='pfeiffer', bottleneck=512),
    pfa=None)
