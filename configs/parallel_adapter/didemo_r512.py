# tools/dist_train.sh configs/parallel_adapter/didemo_r512.py 8
# Paper, table 4, Parallel Adapter r=512, DiDeMo: R@1 49.9, R@5 76.2, R@10 83.0, R@Mean 69.7, MdR 2.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='BottleneckAdapter', preset='parallel', bottleneck=512),
    pfa=None,
    data_preprocessor=dict(max_text_len=64))
