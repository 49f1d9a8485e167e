# tools/dist_train.sh configs/ablation/didemo_sharing_down_layers_9_12.py 8
# Paper, table 12, layers 9-12 share down: R@Mean 71.1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(sharing='down', shared_layers='9-12'))
