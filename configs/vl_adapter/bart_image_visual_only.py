# tools/dist_train.sh configs/vl_adapter/bart_image_visual_only.py 1
# Visual embedding alone in VL-BART, image tasks; paper (arXiv 2112.06825): 1.14 % trained; VQA 32.2, GQA 25.6, NLVR2 52.1, CIDEr 78.5, Average 47.1 (from reading notes).
_base_ = [
    '../_base_/models/vl_bart_base.py', '../_base_/datasets/vl_image.py',
    '../_base_/schedules/vl_adapter_20e.py', '../_base_/vl_runtime.py',
]
# The rate is ours: none was published.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
