# tools/dist_train.sh configs/ablation/didemo_query_residual_shared.py 8
# Paper, table 13, Adapter with the shared query residual: R@1 51.1, R@5 77.2, R@10 84.1, R@Mean 70.8, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(sharing='none', query_residual='shared', textual_branch=False),
    pfa=None)
