# python tools/train.py configs/real/stamps_full_finetune.py
# No row of the paper: Everything is trained, on towers that others trained, real pictures (docs/real_weights.md).
_base_ = [
    '../_base_/models/minilm_lite0_retrieval.py', '../_base_/datasets/stamps_retrieval.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/dual_encoder_runtime.py',
]
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
train_cfg = dict(max_epochs=4)
