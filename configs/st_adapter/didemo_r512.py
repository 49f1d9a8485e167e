# tools/dist_train.sh configs/st_adapter/didemo_r512.py 8
# Paper, table 4, ST-Adapter r=512, DiDeMo: R@1 49.9, R@5 75.6, R@10 83.2, R@Mean 69.6, MdR 2 (42.5 M there).
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='STAdapter', bottleneck=512),
    pfa=None,
    data_preprocessor=dict(max_text_len=64))
