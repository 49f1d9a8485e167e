# tools/dist_train.sh configs/vl_adapter/bart_image_compacter_single.py 1
# Single Compacter in VL-BART, image tasks; paper (arXiv 2112.06825): 2.70 % trained; VQA 64.2, GQA 53.3, NLVR2 71.7, CIDEr 114.1, Average 75.8 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image_prefix.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(
    adapter=dict(type='VLAdapter', reduction_factor=8, projection=dict(type='phm', k=2)),
    train_norms=True)
