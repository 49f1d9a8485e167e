# tools/dist_train.sh configs/uniadapter/flickr30k_albef_r512.py 8
# Paper, table 11, UniAdapter on ALBEF, Flickr30K: 95.6/99.9/100.0, image-to-text R@1/5/10; 84.6/97.3/98.6, text-to-image.
_base_ = [
    '../_base_/models/albef_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval_albef.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/retrieval_runtime.py',
]
