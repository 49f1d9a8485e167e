# tools/dist_train.sh configs/vl_adapter/t5_image_hyperformer.py 1
# Hyperformer in VL-T5, image tasks; paper (arXiv 2112.06825): no figure in the paper; it has 6.37 % by hearsay.
_base_ = [
    '../_base_/models/vl_t5_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(
    adapter=dict(type='Hyperformer', reduction_factor=4, latent=8, linear_std=0.01, embedding_std=1.0))
# The rate is ours: none was published.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_dataloader = dict(batch_size=300)
auto_scale_lr = dict(base_batch_size=300)
