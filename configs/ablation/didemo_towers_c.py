# tools/dist_train.sh configs/ablation/didemo_towers_c.py 8
# Paper, table 1, Adapter r=512 in C: R@1 47.7, R@5 73.4, R@10 82.8, R@Mean 68.0, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(towers=['cross'], sharing='none', query_residual='off', textual_branch=False),
    pfa=None)
