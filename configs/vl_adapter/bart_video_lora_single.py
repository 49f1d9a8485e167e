# tools/dist_train.sh configs/vl_adapter/bart_video_lora_single.py 1
# Single LoRA in VL-BART, video tasks; paper (arXiv 2112.06825): 5.17 % trained; TVQA 75.5, How2QA 72.9, TVC 44.6, YC2C 140.9, Average 83.4 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base_video.py', '../_base_/datasets/vl_video.py',
    '../_base_/schedules/vl_adapter_7e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='LoRA', rank=128, alpha=32.0, dropout=0.1), train_biases=True)
