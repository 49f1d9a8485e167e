# tools/dist_train.sh configs/unipt/coco_blip.py 8
# No row of the paper: its UniPT for COCO stands beside ResNeXt-101 and BERT.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/coco_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(visual=dict(img_size=384), adapter=dict(_delete_=True, type='UniPT'), pfa=None)
val_cfg = dict(k_test=256)
test_cfg = dict(k_test=256)
