# tools/dist_train.sh configs/vl_adapter/t5_image_half_shared.py 1
# Half-shared adapters in VL-T5, image tasks; paper (arXiv 2112.06825): no figure in the paper.
_base_ = [
    '../_base_/models/vl_t5_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(
    adapter=dict(type='VLAdapter', reduction_factor=4, share=dict(down=[], up=['task']), init='torch'))
# The rate is ours: none was published.
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_dataloader = dict(batch_size=300)
auto_scale_lr = dict(base_batch_size=300)
