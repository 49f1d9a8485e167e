# tools/dist_train.sh configs/uniadapter/coco_caption_r128.py 8
# The paper has no row for COCO caption with r=128.
_base_ = [
    '../_base_/models/blip_base_caption.py', '../_base_/datasets/coco_caption.py',
    '../_base_/schedules/adamw_cosine_5e_bs256.py', '../_base_/answer_runtime.py',
]
model = dict(adapter=dict(bottleneck=128))
