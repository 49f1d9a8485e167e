# tools/dist_train.sh configs/vl_adapter/t5_video_single.py 1
# Single adapter in VL-T5, video tasks; paper (arXiv 2112.06825): no figure in the paper.
_base_ = [
    '../_base_/models/vl_t5_base_video.py', '../_base_/datasets/vl_video.py',
    '../_base_/schedules/vl_adapter_7e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='VLAdapter', reduction_factor=4, init='torch'))
# The rate is ours: none was published.
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_dataloader = dict(batch_size=30)
auto_scale_lr = dict(base_batch_size=30)
