# tools/dist_train.sh configs/uniadapter/flickr30k_beit3_base_r512.py 8
# The paper's table 11 has BEiT-3-Large alone (flickr30k_beit3_large_r512.py): this is the same with the base towers.
_base_ = [
    '../_base_/models/beit3_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval_beit3.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/dual_encoder_runtime.py',
]
