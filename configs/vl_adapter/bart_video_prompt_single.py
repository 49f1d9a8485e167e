# tools/dist_train.sh configs/vl_adapter/bart_video_prompt_single.py 1
# Single prompt in VL-BART, video tasks; paper (arXiv 2112.06825): no figure in the paper.
_base_ = [
    '../_base_/models/vl_bart_base_video.py', '../_base_/datasets/vl_video.py',
    '../_base_/schedules/vl_adapter_7e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='PromptTuning', length=40, hidden=800))
