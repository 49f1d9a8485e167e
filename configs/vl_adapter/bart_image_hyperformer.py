# tools/dist_train.sh configs/vl_adapter/bart_image_hyperformer.py 1
# Hyperformer in VL-BART, image tasks; paper (arXiv 2112.06825): 5.79 % trained; VQA 65.1, GQA 53.4, NLVR2 72.3, CIDEr 114.6, Average 76.4 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(adapter=dict(type='Hyperformer', reduction_factor=8, latent=8), train_norms=True)
