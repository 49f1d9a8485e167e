# tools/dist_train.sh configs/lora/didemo_r512.py 8
# Paper, table 4, LoRA r=512, DiDeMo: R@1 43.3, R@5 70.6, R@10 79.7, R@Mean 64.5, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='LoRA', rank=512),
    pfa=None,
    data_preprocessor=dict(max_text_len=64))
