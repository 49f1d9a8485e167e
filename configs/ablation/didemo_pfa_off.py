# tools/dist_train.sh configs/ablation/didemo_pfa_off.py 8
# Paper, section 3.5, UniAdapter r=512 without PFA: no figure to quote.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    pfa=None)
