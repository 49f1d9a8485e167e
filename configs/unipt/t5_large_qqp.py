# tools/dist_train.sh configs/unipt/t5_large_qqp.py 1
# Paper (arXiv 2605.04058, GLUE table), UniPT, T5-large, QQP: 89.7.
_base_ = [
    '../_base_/models/t5_large_glue.py', '../_base_/datasets/glue_qqp.py',
    '../_base_/schedules/adamw_warmup_10e_bs100.py', '../_base_/glue_runtime.py',
]
