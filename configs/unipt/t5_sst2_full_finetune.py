# tools/dist_train.sh configs/unipt/t5_sst2_full_finetune.py 1
# Paper (arXiv 2605.04058, GLUE table), full fine-tuning, T5-base, SST-2: 93.9.
_base_ = [
    '../_base_/models/t5_base_glue.py', '../_base_/datasets/glue_sst2.py',
    '../_base_/schedules/adamw_warmup_10e_bs100.py', '../_base_/glue_runtime.py',
]
# The rate is ours: the published one is unknown.
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
