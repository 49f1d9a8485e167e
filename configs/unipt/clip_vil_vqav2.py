# tools/dist_train.sh configs/unipt/clip_vil_vqav2.py 4
# Paper: UniPT on CLIP-ViL, VQAv2 test-dev 75.33, test-std 75.53 (table 2 of arXiv 2605.04058).
_base_ = [
    '../_base_/models/clip_vil_vqa.py', '../_base_/datasets/vqav2_lxmert.py',
    '../_base_/schedules/adamw_linear_5e_bs1024.py', '../_base_/answer_runtime.py',
]
model = dict(
    pretrained='checkpoints/clip_vil_vqav2.safetensors', num_answers=3129,
    answer_list='data/vqa/trainval_label2ans.json')
default_hooks = dict(checkpoint=dict(save_best='accuracy'))
randomness = dict(seed=9595)
