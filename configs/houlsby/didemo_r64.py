# tools/dist_train.sh configs/houlsby/didemo_r64.py 8
# The default width of the original; no row of the paper.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='BottleneckAdapter', preset='houlsby', bottleneck=64),
    pfa=None,
    data_preprocessor=dict(max_text_len=64))
