# python tools/train.py configs/tiny/vqav2_r32.py
# UniAdapter (share down, r=32) and the language-model head; no row of the paper: it has no embedded data (docs/embedded_data.md has ours).
_base_ = [
    '../_base_/models/blip_tiny_vqa.py', '../_base_/datasets/toy_world_vqav2.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/answer_runtime.py',
]
# Most answers are in no caption of a still, so the frozen word embeddings hold them as they were drawn: the head that reads
# them out is trained, as retrieval's heads are.
model = dict(
    adapter=dict(bottleneck=32, scale=1.0), train_lm_head=True, label_smoothing=0.0,
    answer_list='data/toy_world/vqav2/answer_list.json')
optim_wrapper = dict(optimizer=dict(lr=3e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=8, val_interval=8)
