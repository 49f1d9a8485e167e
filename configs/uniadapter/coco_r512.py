# tools/dist_train.sh configs/uniadapter/coco_r512.py 8
# Paper, table 9, UniAdapter r=512, COCO 5K: 80.1/94.6/97.4, image-to-text R@1/5/10; 62.6/84.6/90.9, text-to-image.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/coco_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(visual=dict(img_size=384), adapter=dict(bottleneck=512), pfa=None)
val_cfg = dict(k_test=256)
test_cfg = dict(k_test=256)
