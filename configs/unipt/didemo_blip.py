# tools/dist_train.sh configs/unipt/didemo_blip.py 8
# No row of the paper: DiDeMo is not among its data.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(adapter=dict(_delete_=True, type='UniPT'), data_preprocessor=dict(max_text_len=64))
