# tools/dist_train.sh configs/unipt/t5_cola.py 1
# Paper (arXiv 2605.04058, GLUE table), UniPT, T5-base, CoLA: 62.2.
_base_ = [
    '../_base_/models/t5_base_glue.py', '../_base_/datasets/glue_cola.py',
    '../_base_/schedules/adamw_warmup_20e_bs100.py', '../_base_/glue_runtime.py',
]
