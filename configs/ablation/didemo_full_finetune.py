# tools/dist_train.sh configs/ablation/didemo_full_finetune.py 8
# Paper, table 2, full fine-tuning: R@1 51.5, R@5 79.1, R@10 85.7, R@Mean 72.0, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=None,
    train_backbone=True,
    pfa=None)
