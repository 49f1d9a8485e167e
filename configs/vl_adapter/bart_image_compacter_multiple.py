# tools/dist_train.sh configs/vl_adapter/bart_image_compacter_multiple.py 1
# Multiple Compacters in VL-BART, image tasks; paper (arXiv 2112.06825): 7.05 % trained; VQA 64.6, GQA 53.4, NLVR2 69.1, CIDEr 116.0, Average 75.8 (no source of the row was found).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(
    adapter=dict(type='VLAdapter', reduction_factor=8, projection=dict(type='phm', k=2), share=dict(down=[], up=[])),
    train_norms=True)
