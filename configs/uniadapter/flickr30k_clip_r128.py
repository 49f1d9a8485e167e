# tools/dist_train.sh configs/uniadapter/flickr30k_clip_r128.py 8
# No row of the paper: this is flickr30k_clip_r512.py with r=128.
_base_ = './flickr30k_clip_r512.py'
model = dict(adapter=dict(bottleneck=128))
