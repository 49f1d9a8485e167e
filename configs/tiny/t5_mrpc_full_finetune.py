# python tools/train.py configs/tiny/t5_mrpc_full_finetune.py
# Full fine-tuning on a small T5, embedded MRPC; no row of the paper: it has no embedded data (docs/unipt_t5.md has ours).
_base_ = [
    '../_base_/models/t5_tiny.py', '../_base_/datasets/toy_world_glue_mrpc.py',
    '../_base_/schedules/adamw_glue_tiny.py', '../_base_/glue_runtime.py',
]
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
