# tools/dist_train.sh configs/ablation/didemo_towers_t.py 8
# Paper, table 1, Adapter r=512 in T: R@1 40.0, R@5 64.6, R@10 74.7, R@Mean 59.8, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(towers=['text'], sharing='none', query_residual='off', textual_branch=False),
    pfa=None)
