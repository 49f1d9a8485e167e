# tools/dist_train.sh configs/vl_adapter/bart_image_lora_multiple.py 1
# Multiple LoRA in VL-BART, image tasks; paper (arXiv 2112.06825): 17.72 % trained; VQA 65.5, GQA 53.0, NLVR2 62.8, CIDEr 115.4, Average 74.2 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(
    adapter=dict(type='LoRA', rank=128, alpha=32.0, dropout=0.1, share=[]),
    train_biases=True)
