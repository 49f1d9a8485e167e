# tools/dist_train.sh configs/ablation/didemo_r512_no_query_residual.py 8
# Paper, table 2, r=512, nor query residual: R@1 50.1, R@5 76.1, R@10 83.5, R@Mean 69.9, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(sharing='none', query_residual='off', textual_branch=False))
