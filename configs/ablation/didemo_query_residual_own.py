# tools/dist_train.sh configs/ablation/didemo_query_residual_own.py 8
# Paper, table 13, Adapter with a query residual of its own: R@1 50.9, R@5 77.1, R@10 83.3, R@Mean 70.4, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(sharing='none', query_residual='own', textual_branch=False),
    pfa=None)
