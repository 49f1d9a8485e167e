# tools/dist_train.sh configs/vl_adapter/t5_image_lora_single.py 1
# Single LoRA in VL-T5, image tasks; paper (arXiv 2112.06825): 7.54 % trained; Average 74.3 (as Ladder-Side-Tuning trained it).
_base_ = [
    '../_base_/models/vl_t5_base.py', '../_base_/datasets/vl_image_prefix.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='LoRA', rank=150, alpha=32.0, dropout=0.1))
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_dataloader = dict(batch_size=300)
auto_scale_lr = dict(base_batch_size=300)
