# tools/dist_train.sh configs/ablation/didemo_sharing_none.py 8
# Paper, table 3, no sharing: R@1 52.4, R@5 77.6, R@10 84.2, R@Mean 71.4, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(sharing='none'))
