# tools/dist_train.sh configs/vl_adapter/bart_image_half_shared.py 1
# Half-shared adapters in VL-BART, image tasks; paper (arXiv 2112.06825): 8.36 % trained; VQA 65.2, GQA 53.4, NLVR2 71.2, CIDEr 113.7, Average 75.9 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(
    adapter=dict(type='VLAdapter', reduction_factor=8, share=dict(down=[], up=['task'])),
    train_norms=True)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
