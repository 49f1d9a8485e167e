# tools/dist_train.sh configs/uniadapter/flickr30k_r512.py 8
# Paper, table 9, UniAdapter r=512, Flickr30K: 97.1/99.9/100.0, image-to-text R@1/5/10; 86.4/97.4/98.9, text-to-image.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(visual=dict(img_size=384), adapter=dict(bottleneck=512), pfa=None)
