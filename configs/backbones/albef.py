# tools/dist_test.sh configs/backbones/albef.py checkpoints/albef.safetensors 8
# The backbone as its authors published it, without an adapter; no row of the paper.
_base_ = [
    '../_base_/models/albef_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval_albef.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=None)
