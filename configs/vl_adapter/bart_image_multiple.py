# tools/dist_train.sh configs/vl_adapter/bart_image_multiple.py 1
# Multiple adapters in VL-BART, image tasks; paper (arXiv 2112.06825): 12.22 % trained; VQA 65.4, GQA 54.0, NLVR2 69.8, CIDEr 114.3, Average 75.9 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(
    adapter=dict(type='VLAdapter', reduction_factor=8, share=dict(down=[], up=[])),
    train_norms=True)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
