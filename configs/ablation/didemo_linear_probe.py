# tools/dist_train.sh configs/ablation/didemo_linear_probe.py 8
# Paper, table 2, linear probe: R@1 39.7, R@5 64.6, R@10 74.9, R@Mean 59.7, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=None,
    pfa=None)
