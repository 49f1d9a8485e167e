# tools/dist_test.sh configs/backbones/blip_base_caption.py checkpoints/blip_caption.safetensors 8
# The backbone as its authors published it, without an adapter; no row of the paper.
_base_ = [
    '../_base_/models/blip_base_caption.py', '../_base_/datasets/coco_caption.py',
    '../_base_/schedules/adamw_cosine_5e_bs256.py', '../_base_/answer_runtime.py',
]
model = dict(adapter=None)
