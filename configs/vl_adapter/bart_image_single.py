# tools/dist_train.sh configs/vl_adapter/bart_image_single.py 1
# Single adapter in VL-BART, image tasks; paper (arXiv 2112.06825): 4.18 % trained; VQA 65.9, GQA 54.5, NLVR2 74.2, CIDEr 114.9, Average 77.4 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image_prefix.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='VLAdapter', reduction_factor=8), train_norms=True)
