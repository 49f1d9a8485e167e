# tools/dist_train.sh configs/houlsby/didemo_r512_tied.py 8
# Paper, table 4, Adapter (Houlsby): its 28.4 M parameters; configs/adapter/ has its figures.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='BottleneckAdapter', preset='houlsby', bottleneck=512, tied=True, train_norms=False),
    pfa=None,
    data_preprocessor=dict(max_text_len=64))
