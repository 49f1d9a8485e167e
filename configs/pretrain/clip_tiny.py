# python tools/train.py configs/pretrain/clip_tiny.py
# No row of the paper: a small CLIP from scratch on the embedded stills, by batch contrast alone (docs/embedded_data.md).
_base_ = [
    '../_base_/models/clip_tiny_retrieval.py', '../_base_/datasets/toy_world_stills.py',
    '../_base_/schedules/adamw_cosine_pretrain_tiny.py', '../_base_/dual_encoder_runtime.py',
]
model = dict(pretrained=None, adapter=None, train_backbone=True)
# A pair's negatives are the rest of its batch.
train_dataloader = dict(batch_size=128)
train_cfg = dict(max_epochs=1)
