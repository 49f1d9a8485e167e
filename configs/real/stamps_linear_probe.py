# python tools/train.py configs/real/stamps_linear_probe.py
# No row of the paper: The projections alone are trained, on towers that others trained, real pictures (docs/real_weights.md).
_base_ = [
    '../_base_/models/minilm_lite0_retrieval.py', '../_base_/datasets/stamps_retrieval.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/dual_encoder_runtime.py',
]
model = dict(adapter=None)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_epochs=4)
