# tools/dist_train.sh configs/linear_probe/didemo.py 8
# Paper, table 2, linear probe, DiDeMo, 8 test frames: R@1 39.7, R@5 64.6, R@10 74.9, R@Mean 59.7, MdR 2. Here 16.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=None, pfa=None, data_preprocessor=dict(max_text_len=64))
