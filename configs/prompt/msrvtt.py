# tools/dist_train.sh configs/prompt/msrvtt.py 8
# No row of the paper, whose CLIP-Prompt (table 5) has another backbone and layers over frames.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='Prompt', text=16, visual=10),
    pfa=None)
