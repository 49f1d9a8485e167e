# tools/dist_train.sh configs/full_finetune/msrvtt.py 8
# No row of the paper: full fine-tuning is given for DiDeMo only.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=None, pfa=None, train_backbone=True)
