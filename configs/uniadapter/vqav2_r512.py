# tools/dist_train.sh configs/uniadapter/vqav2_r512.py 8
# Paper, table 7, UniAdapter r=512, VQAv2: test-dev 75.44, test-std 75.56.
_base_ = [
    '../_base_/models/blip_base_vqa.py', '../_base_/datasets/vqav2.py',
    '../_base_/schedules/adamw_cosine_10e_bs128.py', '../_base_/answer_runtime.py',
]
# Nothing is left to validate on: both public splits are trained on.
model = dict(adapter=dict(bottleneck=512), answer_list='data/vqav2/answer_list.json')
val_cfg = None
