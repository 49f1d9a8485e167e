# python tools/train.py configs/tiny/flickr30k_vse_unipt.py
# UniPT on a small VSE-infinity; no row of the paper: it has no embedded data (docs/embedded_data.md has ours).
_base_ = [
    '../_base_/models/vse_tiny_retrieval.py', '../_base_/datasets/toy_world_flickr30k.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/vse_runtime.py',
]
train_dataloader = dict(batch_size=64)
val_evaluator = dict(total=True)
test_evaluator = dict(total=True)
optim_wrapper = dict(optimizer=dict(lr=3e-3), clip_grad=dict(max_norm=2.0))
train_cfg = dict(max_epochs=2, val_interval=2)
