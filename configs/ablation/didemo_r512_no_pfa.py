# tools/dist_train.sh configs/ablation/didemo_r512_no_pfa.py 8
# Paper, table 2, r=512, nor PFA: the plain Adapter: R@1 49.6, R@5 75.9, R@10 82.8, R@Mean 69.7, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(sharing='none', query_residual='off', textual_branch=False),
    pfa=None)
