# tools/dist_train.sh configs/uniadapter/vqav2_albef_r128.py 8
# No row of the paper: this is vqav2_albef_r512.py with r=128.
_base_ = './vqav2_albef_r512.py'
model = dict(adapter=dict(bottleneck=128))
