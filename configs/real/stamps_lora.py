# python tools/train.py configs/real/stamps_lora.py
# No row of the paper: LoRA on q, v and the convolutions of 1 x 1, on towers that others trained, real pictures (docs/real_weights.md).
_base_ = [
    '../_base_/models/minilm_lite0_retrieval.py', '../_base_/datasets/stamps_retrieval.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/dual_encoder_runtime.py',
]
model = dict(
    adapter=dict(
        _delete_=True, type='LoRA', rank=8, targets=['q', 'v', 'fc1', 'fc2'], layers='12-17'))
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_epochs=4)
