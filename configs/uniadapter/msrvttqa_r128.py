# tools/dist_train.sh configs/uniadapter/msrvttqa_r128.py 8
# Paper, table 6, UniAdapter r=128, MSRVTT-QA: test accuracy 44.2.
_base_ = [
    '../_base_/models/blip_base_vqa.py', '../_base_/datasets/msrvtt_qa.py',
    '../_base_/schedules/adamw_cosine_10e_bs24.py', '../_base_/answer_runtime.py',
]
model = dict(
    visual=dict(img_size=384),
    adapter=dict(bottleneck=128),
    answer_list='data/msrvtt_qa/answer_list.json')
