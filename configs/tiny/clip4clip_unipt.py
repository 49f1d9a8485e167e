# python tools/train.py configs/tiny/clip4clip_unipt.py
# UniPT in CLIP4Clip's form on a small CLIP; no row of the paper: it has no embedded data (docs/unipt_clip4clip.md has ours).
_base_ = [
    '../_base_/models/clip_tiny_retrieval.py', '../_base_/datasets/toy_world_retrieval.py',
    '../_base_/schedules/bert_adam_5e_bs128.py', '../_base_/clip4clip_runtime.py',
]
# The small CLIP has seen stills alone; 128 captions a batch on one process, as the authors have on four.
model = dict(
    data_preprocessor=dict(pad_frames=8),
    pooling=dict(type='FeaturePooling'),
    contrast=dict(train_temperature=False, gradients='own', eps=1e-6),
    adapter=dict(_delete_=True, type='UniPT', start='published', autocast=False))
# Nothing is drawn, neither frames nor crops.
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=_base_.test_pipeline))
val_evaluator = dict(type='VideoTextMetric', total=True)
test_evaluator = val_evaluator
# Both towers run once over the 1,200 videos (0.4 GiB), and no more in any epoch.
custom_hooks = [dict(type='TapStoreHook', dir='data/toy_world/taps/clip4clip')]
# The paper has 7,030 steps at 1e-4 and a width of 512, here are 560 at 64; with the taps on disk an epoch is cheap.
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=20, val_interval=5)
