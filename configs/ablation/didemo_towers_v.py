# tools/dist_train.sh configs/ablation/didemo_towers_v.py 8
# Paper, table 1, Adapter r=512 in V: R@1 42.6, R@5 70.9, R@10 79.4, R@Mean 64.3, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(towers=['visual'], sharing='none', query_residual='off', textual_branch=False),
    pfa=None)
