# tools/dist_train.sh configs/vl_adapter/bart_image_lora_single.py 1
# Single LoRA in VL-BART, image tasks; paper (arXiv 2112.06825): 5.93 % trained; VQA 65.2, GQA 53.6, NLVR2 71.9, CIDEr 115.3, Average 76.5 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image_prefix.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='LoRA', rank=128, alpha=32.0, dropout=0.1), train_biases=True)
