# tools/dist_train.sh configs/ablation/didemo_towers_vtc.py 8
# Paper, tables 1 and 13, Adapter r=512 in V/T/C: R@1 49.9, R@5 76.2, R@10 83.0, R@Mean 69.7, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(towers=['visual', 'text', 'cross'], sharing='none', query_residual='off', textual_branch=False),
    pfa=None)
