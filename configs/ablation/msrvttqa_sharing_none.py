# tools/dist_train.sh configs/ablation/msrvttqa_sharing_none.py 8
# Paper, table 3, no sharing, MSRVTT-QA: validation accuracy 43.6.
_base_ = [
    '../_base_/models/blip_base_vqa.py', '../_base_/datasets/msrvtt_qa_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs24.py', '../_base_/answer_runtime.py',
]
model = dict(
    visual=dict(img_size=384),
    answer_list='data/msrvtt_qa/answer_list.json',
    adapter=dict(sharing='none'))
