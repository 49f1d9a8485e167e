# tools/dist_train.sh configs/vl_adapter/bart_image_prompt_single.py 1
# Single prompt in VL-BART, image tasks; paper (arXiv 2112.06825): 2.00 % trained; VQA 44.0, GQA 36.3, NLVR2 51.8, CIDEr 103.9, Average 59.0 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image_prefix.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='PromptTuning', length=40, hidden=800))
