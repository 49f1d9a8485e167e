# tools/dist_train.sh configs/ablation/didemo_pfa_paper.py 8
# Paper, equations 7 and 8, PFA on keys and values as the paper writes it: no figure to quote.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    pfa=dict(variant='paper'))
