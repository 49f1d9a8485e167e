# tools/dist_train.sh configs/peft/didemo_vera_r256.py 8
# No row of the paper, which does not compare with VeRA.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='PeftAdapter', config=dict(peft_type='VERA', r=256)),
    pfa=None,
    data_preprocessor=dict(max_text_len=64))
