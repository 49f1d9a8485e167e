# tools/dist_train.sh configs/pfeiffer/msrvttqa_r512.py 8
# No row of the paper, which does not compare with Pfeiffer's adapter.
_base_ = [
    '../_base_/models/blip_base_vqa.py', '../_base_/datasets/msrvtt_qa.py',
    '../_base_/schedules/adamw_cosine_10e_bs24.py', '../_base_/answer_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='BottleneckAdapter', preset='pfeiffer', bottleneck=512),
    visual=dict(img_size=384),
    answer_list='data/msrvtt_qa/answer_list.json')
