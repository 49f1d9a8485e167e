# python tools/train.py configs/tiny/clip_vil_vqav2_unipt.py
# UniPT beside a small CLIP-ViL, and the answer head; no row of the paper: it has no embedded data (docs/unipt_clip_vil.md has ours).
_base_ = [
    '../_base_/models/clip_vil_tiny_vqa.py', '../_base_/datasets/toy_world_vqa_lxmert.py',
    '../_base_/schedules/adamw_linear_5e_bs1024.py', '../_base_/answer_runtime.py',
]
# Small batches, so nothing is accumulated, and a small model, which takes larger steps.
optim_wrapper = dict(optimizer=dict(lr=2e-3), accumulative_counts=1)
train_cfg = dict(val_interval=5)
