# tools/dist_train.sh configs/uniadapter/coco_caption_r512.py 8
# Paper, table 8, UniAdapter r=512, COCO caption: B@4 40.0, CIDEr 133.5 (its two column heads are exchanged).
_base_ = [
    '../_base_/models/blip_base_caption.py', '../_base_/datasets/coco_caption.py',
    '../_base_/schedules/adamw_cosine_5e_bs256.py', '../_base_/answer_runtime.py',
]
model = dict(adapter=dict(bottleneck=512))
