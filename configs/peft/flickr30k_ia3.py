# tools/dist_train.sh configs/peft/flickr30k_ia3.py 8
# No row of the paper, which does not compare with IA3.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='PeftAdapter', config=dict(peft_type='IA3'), targets=['k', 'v', 'fc2'],
                 feedforward=['fc2']),
    visual=dict(img_size=384),
    pfa=None)
