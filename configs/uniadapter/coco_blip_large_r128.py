# tools/dist_train.sh configs/uniadapter/coco_blip_large_r128.py 8
# No row of the paper: its table 11 has BLIP-Large on Flickr30K alone.
_base_ = './coco_blip_large_r512.py'
model = dict(adapter=dict(bottleneck=128))
