# tools/dist_train.sh configs/peft/msrvtt_ia3.py 8
# No row of the paper, which does not compare with IA3.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='PeftAdapter', config=dict(peft_type='IA3'), targets=['k', 'v', 'fc2'],
                 feedforward=['fc2']),
    pfa=None)
