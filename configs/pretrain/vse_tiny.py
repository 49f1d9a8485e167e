# python tools/train.py configs/pretrain/vse_tiny.py
# No row of the paper: a small VSE-infinity from scratch on the embedded stills, all negatives of a batch (docs/embedded_data.md).
_base_ = [
    '../_base_/models/vse_tiny_retrieval.py', '../_base_/datasets/toy_world_stills.py',
    '../_base_/schedules/adamw_cosine_pretrain_tiny.py', '../_base_/vse_runtime.py',
]
# The network's own batch norms learn their statistics here, and keep them from then on.
model = dict(pretrained=None, adapter=None, train_backbone=True, visual=dict(norm_eval=False))
train_dataloader = dict(batch_size=128)
val_evaluator = dict(total=True)
train_cfg = dict(max_epochs=1)
