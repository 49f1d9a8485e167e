# tools/dist_train.sh configs/uniadapter/vqav2_albef_r512.py 8
# No row of the paper: its table 7 has BLIP-base (vqav2_r512.py).
_base_ = [
    '../_base_/models/albef_base_vqa.py', '../_base_/datasets/vqav2_albef.py',
    '../_base_/schedules/adamw_cosine_10e_bs128.py', '../_base_/answer_runtime.py',
]
# Nothing is left to validate on: both public splits are trained on.
model = dict(answer_list='data/vqav2/answer_list.json')
val_cfg = None
