# tools/dist_train.sh configs/ablation/didemo_sharing_down.py 8
# Paper, tables 2, 3, 14 and 15, UniAdapter r=512: R@1 52.1, R@5 77.3, R@10 85.2, R@Mean 71.5, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(data_preprocessor=dict(max_text_len=64))
