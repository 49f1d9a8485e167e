# tools/dist_train.sh configs/uniadapter/msrvtt_clip_r128.py 8
# No row of the paper: this is msrvtt_clip_r512.py with r=128.
_base_ = './msrvtt_clip_r512.py'
model = dict(adapter=dict(bottleneck=128))
