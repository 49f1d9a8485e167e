# tools/dist_test.sh configs/backbones/beit3_base.py checkpoints/beit3_base.safetensors 8
# The backbone as its authors published it, without an adapter; no row of the paper.
_base_ = [
    '../_base_/models/beit3_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval_beit3.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/dual_encoder_runtime.py',
]
model = dict(adapter=None)
