# tools/dist_train.sh configs/mam/didemo_r512.py 8
# Paper, table 4, MAM Adapter, DiDeMo: R@1 50.2, R@5 76.6, R@10 83.2, R@Mean 70.0, MdR 2 (33.0 M there).
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='MAM', prefix=30, bottleneck=512),
    pfa=None,
    data_preprocessor=dict(max_text_len=64))
