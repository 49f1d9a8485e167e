# tools/dist_train.sh configs/vl_adapter/bart_image_visual_norms.py 1
# Visual embedding and norms in VL-BART, image tasks; paper (arXiv 2112.06825): 1.18 % trained; VQA 49.5, GQA 40.1, NLVR2 52.4, CIDEr 109.6, Average 62.9 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
model = dict(train_norms=True)
# The rate is ours: none was published.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
