# tools/dist_train.sh configs/ablation/didemo_r768.py 8
# Paper, figure 3 (a), UniAdapter r=768: no figure to quote.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(bottleneck=768))
