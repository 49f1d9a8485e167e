# tools/dist_train.sh configs/vl_adapter/bart_image_prompt_multiple.py 1
# Multiple prompts in VL-BART, image tasks; paper (arXiv 2112.06825): 4.53 % trained; VQA 43.8, GQA 38.1, NLVR2 51.1, CIDEr 104.6, Average 59.4 (no source of the row was found).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='PromptTuning', length=40, hidden=800, share=[]))
