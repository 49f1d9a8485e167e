# tools/dist_train.sh configs/prompt/flickr30k.py 8
# No row of the paper, whose CLIP-Prompt (table 5) has another backbone and layers over frames.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='Prompt', text=16, visual=10),
    visual=dict(img_size=384),
    pfa=None)
