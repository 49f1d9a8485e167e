# tools/dist_train.sh configs/vl_adapter/bart_video_visual_norms.py 1
# Visual embedding and norms in VL-BART, video tasks; paper (arXiv 2112.06825): no figure in the paper.
_base_ = [
    '../_base_/models/vl_bart_base_video.py', '../_base_/datasets/vl_video.py',
    '../_base_/schedules/vl_adapter_7e.py', '../_base_/vl_runtime.py',
]
model = dict(train_norms=True)
# The rate is ours: none was published.
optim_wrapper = dict(optimizer=dict(lr=3e-4))
