# tools/dist_train.sh configs/unipt/clip_vil_gqa.py 4
# Paper: UniPT on CLIP-ViL, GQA test-dev 60.10, test-std 60.72 (table 2 of arXiv 2605.04058).
_base_ = [
    '../_base_/models/clip_vil_vqa.py', '../_base_/datasets/gqa_lxmert.py',
    '../_base_/schedules/adamw_linear_5e_bs1024.py', '../_base_/answer_runtime.py',
]
model = dict(
    pretrained='checkpoints/clip_vil_gqa.safetensors', num_answers=1842,
    answer_list='data/gqa/trainval_label2ans.json')
optim_wrapper = dict(optimizer=dict(lr=1e-4))
# The published figures were selected on testdev as well.
default_hooks = dict(checkpoint=dict(save_best='accuracy'))
randomness = dict(seed=9595)
