# tools/dist_test.sh configs/backbones/blip_base_vqa.py checkpoints/blip_vqa.safetensors 8
# The backbone as its authors published it, without an adapter; no row of the paper.
_base_ = [
    '../_base_/models/blip_base_vqa.py', '../_base_/datasets/vqav2.py',
    '../_base_/schedules/adamw_cosine_10e_bs128.py', '../_base_/answer_runtime.py',
]
# Nothing is left to validate on: both public splits are trained on.
model = dict(adapter=None, answer_list='data/vqav2/answer_list.json')
val_cfg = None
