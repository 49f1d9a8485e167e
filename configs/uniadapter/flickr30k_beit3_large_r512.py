# tools/dist_train.sh configs/uniadapter/flickr30k_beit3_large_r512.py 8
# Paper, table 11, UniAdapter on BEiT-3-Large, Flickr30K: 96.3/99.9/100.0, image-to-text R@1/5/10; 87.6/97.9/99.2, text-to-image.
_base_ = [
    '../_base_/models/beit3_large_retrieval.py', '../_base_/datasets/flickr30k_retrieval_beit3.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/dual_encoder_runtime.py',
]
