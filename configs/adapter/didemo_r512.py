# tools/dist_train.sh configs/adapter/didemo_r512.py 8
# Paper, table 2, Adapter r=512, DiDeMo, 8 test frames: R@1 49.6, R@5 75.9, R@10 82.8, R@Mean 69.4, MdR 2. Here 16.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(bottleneck=512, sharing='none', query_residual='off', textual_branch=False),
    pfa=None, data_preprocessor=dict(max_text_len=64))
