# tools/dist_train.sh configs/uniadapter/flickr30k_albef_r128.py 8
# The paper's table 11 doesn't name the r of its row of ALBEF: this is flickr30k_albef_r512.py with r=128.
_base_ = './flickr30k_albef_r512.py'
model = dict(adapter=dict(bottleneck=128))
