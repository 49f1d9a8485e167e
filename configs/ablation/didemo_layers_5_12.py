# tools/dist_train.sh configs/ablation/didemo_layers_5_12.py 8
# Paper, table 15, layers 5-12: R@1 52.0, R@5 77.4, R@10 84.0, R@Mean 71.2, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(layers='5-12'))
