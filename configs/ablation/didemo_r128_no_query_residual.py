# tools/dist_train.sh configs/ablation/didemo_r128_no_query_residual.py 8
# Paper, table 2, r=128, nor query residual: R@1 48.1, R@5 74.2, R@10 82.4, R@Mean 68.2, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(bottleneck=128, sharing='none', query_residual='off', textual_branch=False))
