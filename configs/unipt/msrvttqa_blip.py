# tools/dist_train.sh configs/unipt/msrvttqa_blip.py 8
# No row of the paper: video question answering is not among its tasks.
_base_ = [
    '../_base_/models/blip_base_vqa.py', '../_base_/datasets/msrvtt_qa.py',
    '../_base_/schedules/adamw_cosine_10e_bs24.py', '../_base_/answer_runtime.py',
]
model = dict(
    visual=dict(img_size=384),
    adapter=dict(_delete_=True, type='UniPT'),
    answer_list='data/msrvtt_qa/answer_list.json')
