# tools/dist_train.sh configs/vl_adapter/t5_image_single.py 1
# Single adapter in VL-T5, image tasks; paper (arXiv 2112.06825): 7.98 % trained; Average 77.4 (from reading notes).
_base_ = [
    '../_base_/models/vl_t5_base.py', '../_base_/datasets/vl_image_prefix.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='VLAdapter', reduction_factor=4, init='torch'))
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_dataloader = dict(batch_size=300)
auto_scale_lr = dict(base_batch_size=300)
