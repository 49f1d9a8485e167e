# tools/dist_train.sh configs/ablation/didemo_r128.py 8
# Paper, table 2, UniAdapter r=128: R@1 49.0, R@5 75.5, R@10 83.3, R@Mean 69.3, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(bottleneck=128))
