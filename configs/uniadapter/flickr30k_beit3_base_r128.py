# tools/dist_train.sh configs/uniadapter/flickr30k_beit3_base_r128.py 8
# The paper's table 11 has BEiT-3-Large alone: this is flickr30k_beit3_base_r512.py with r=128.
_base_ = './flickr30k_beit3_base_r512.py'
model = dict(adapter=dict(bottleneck=128))
