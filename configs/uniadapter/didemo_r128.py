# tools/dist_train.sh configs/uniadapter/didemo_r128.py 8
# Paper, table 5, UniAdapter r=128, DiDeMo, tested on 8 frames: R@1 49.0, R@5 75.5, R@10 83.3, MdR 2. Here 16, as in table 16.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=dict(bottleneck=128), data_preprocessor=dict(max_text_len=64))
