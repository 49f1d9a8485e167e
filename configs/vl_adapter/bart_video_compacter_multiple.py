# tools/dist_train.sh configs/vl_adapter/bart_video_compacter_multiple.py 1
# Multiple Compacters in VL-BART, video tasks; paper (arXiv 2112.06825): no figure in the paper.
_base_ = [
    '../_base_/models/vl_bart_base_video.py', '../_base_/datasets/vl_video.py',
    '../_base_/schedules/vl_adapter_7e.py', '../_base_/vl_runtime.py',
]
model = dict(
    adapter=dict(type='VLAdapter', reduction_factor=8, projection=dict(type='phm', k=2), share=dict(down=[], up=[])),
    train_norms=True)
# The rate is ours: none was published.
optim_wrapper = dict(optimizer=dict(lr=3e-4))
