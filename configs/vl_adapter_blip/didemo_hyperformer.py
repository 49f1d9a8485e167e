# tools/dist_train.sh configs/vl_adapter_blip/didemo_hyperformer.py 8
# No row of a paper: VL-Adapter's methods were published on BART and T5 alone.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='Hyperformer', reduction_factor=8, share=['task']),
    train_norms=True,
    pfa=None,
    data_preprocessor=dict(max_text_len=64))
