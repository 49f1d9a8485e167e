# tools/dist_train.sh configs/ablation/didemo_layers_1_4.py 8
# Paper, table 15, layers 1-4: R@1 45.8, R@5 74.3, R@10 82.6, R@Mean 67.5, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(layers='1-4'))
