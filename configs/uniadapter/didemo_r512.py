# tools/dist_train.sh configs/uniadapter/didemo_r512.py 8
# Paper, table 5, UniAdapter r=512, DiDeMo, tested on 16 frames: R@1 53.7, R@5 78.3, R@10 87.2, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=dict(bottleneck=512), data_preprocessor=dict(max_text_len=64))
