# tools/dist_train.sh configs/unipt/t5_cola_full_finetune.py 1
# Paper (arXiv 2605.04058, GLUE table), full fine-tuning, T5-base, CoLA: 62.8.
_base_ = [
    '../_base_/models/t5_base_glue.py', '../_base_/datasets/glue_cola.py',
    '../_base_/schedules/adamw_warmup_20e_bs100.py', '../_base_/glue_runtime.py',
]
# The rate is ours: the published one is unknown.
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
