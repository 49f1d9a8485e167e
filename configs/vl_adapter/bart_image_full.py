# tools/dist_train.sh configs/vl_adapter/bart_image_full.py 1
# Full fine-tuning in VL-BART, image tasks; paper (arXiv 2112.06825): 100 % trained; VQA 67.6, GQA 56.7, NLVR2 73.0, CIDEr 112.9, Average 77.6 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
