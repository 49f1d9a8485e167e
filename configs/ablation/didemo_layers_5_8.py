# tools/dist_train.sh configs/ablation/didemo_layers_5_8.py 8
# Paper, table 15, layers 5-8: R@1 51.1, R@5 76.5, R@10 83.5, R@Mean 70.4, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(layers='5-8'))
