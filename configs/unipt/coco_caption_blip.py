# tools/dist_train.sh configs/unipt/coco_caption_blip.py 8
# No row of the paper: captioning is not among its tasks.
_base_ = [
    '../_base_/models/blip_base_caption.py', '../_base_/datasets/coco_caption.py',
    '../_base_/schedules/adamw_cosine_5e_bs256.py', '../_base_/answer_runtime.py',
]
model = dict(adapter=dict(_delete_=True, type='UniPT'))
