# python tools/train.py configs/pretrain/mdetr_tiny.py
# No row of the paper: it starts from MDETR's checkpoint; this makes a small one on pictures in the look of the embedded stills (docs/unipt_mdetr.md).
_base_ = [
    '../_base_/models/mdetr_tiny_grounding.py', '../_base_/datasets/toy_world_refcoco.py',
    '../_base_/schedules/adamw_cosine_pretrain_tiny.py', '../_base_/grounding_runtime.py',
]
model = dict(pretrained=None, adapter=None, train_backbone=True, visual=dict(fixed_stages=0))
train_dataloader = dict(
    dataset=dict(ann_file='pretrain_train.json', data_prefix=dict(media='stills/')))
val_dataloader = dict(dataset=dict(ann_file='pretrain_val.json', data_prefix=dict(media='stills/')))
test_dataloader = dict(
    dataset=dict(ann_file='pretrain_val.json', data_prefix=dict(media='stills/')))
custom_hooks = []
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4), clip_grad=dict(max_norm=1.0))
train_cfg = dict(max_epochs=3, val_interval=1)
