# tools/dist_train.sh configs/unipt/t5_large_sst2.py 1
# Paper (arXiv 2605.04058, GLUE table), UniPT, T5-large, SST-2: 95.8.
_base_ = [
    '../_base_/models/t5_large_glue.py', '../_base_/datasets/glue_sst2.py',
    '../_base_/schedules/adamw_warmup_10e_bs100.py', '../_base_/glue_runtime.py',
]
