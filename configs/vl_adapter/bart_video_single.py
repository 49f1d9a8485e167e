# tools/dist_train.sh configs/vl_adapter/bart_video_single.py 1
# Single adapter in VL-BART, video tasks; paper (arXiv 2112.06825): 3.39 % trained; TVQA 76.6, How2QA 73.9, TVC 46.3, YC2C 152.9, Average 87.4 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base_video.py', '../_base_/datasets/vl_video.py',
    '../_base_/schedules/vl_adapter_7e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='VLAdapter', reduction_factor=8), train_norms=True)
