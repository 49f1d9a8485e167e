# tools/dist_train.sh configs/vl_adapter/bart_video_full.py 1
# Full fine-tuning in VL-BART, video tasks; paper (arXiv 2112.06825): 100 % trained; TVQA 76.3, How2QA 73.9, TVC 45.7, YC2C 154.0, Average 87.4 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base_video.py', '../_base_/datasets/vl_video.py',
    '../_base_/schedules/vl_adapter_7e.py', '../_base_/vl_runtime.py',
]
model = dict(train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=3e-5))
