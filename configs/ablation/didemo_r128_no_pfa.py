# tools/dist_train.sh configs/ablation/didemo_r128_no_pfa.py 8
# Paper, table 2, r=128, nor PFA: the plain Adapter: R@1 47.4, R@5 73.5, R@10 81.4, R@Mean 67.4, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(bottleneck=128, sharing='none', query_residual='off', textual_branch=False),
    pfa=None)
