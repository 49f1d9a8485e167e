# tools/dist_train.sh configs/unipt/vqav2_blip.py 8
# No row of the paper: its UniPT for VQAv2 stands in CLIP-ViL's joint stream.
_base_ = [
    '../_base_/models/blip_base_vqa.py', '../_base_/datasets/vqav2.py',
    '../_base_/schedules/adamw_cosine_10e_bs128.py', '../_base_/answer_runtime.py',
]
# Nothing is left to validate on: both public splits are trained on.
model = dict(
    adapter=dict(_delete_=True, type='UniPT'), answer_list='data/vqav2/answer_list.json')
val_cfg = None
