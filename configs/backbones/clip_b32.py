# tools/dist_test.sh configs/backbones/clip_b32.py checkpoints/clip_b32.safetensors 8
# The backbone as its authors published it, without an adapter; no row of the paper.
_base_ = [
    '../_base_/models/clip_b32_retrieval.py', '../_base_/datasets/flickr30k_retrieval_clip.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/dual_encoder_runtime.py',
]
model = dict(adapter=None)
