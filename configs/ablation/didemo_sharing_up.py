# tools/dist_train.sh configs/ablation/didemo_sharing_up.py 8
# Paper, table 3, share up: R@1 50.1, R@5 76.6, R@10 84.2, R@Mean 70.3, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(sharing='up'))
