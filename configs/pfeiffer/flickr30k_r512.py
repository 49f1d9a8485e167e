# tools/dist_train.sh configs/pfeiffer/flickr30k_r512.py 8
# No row of the paper, which does not compare with Pfeiffer's adapter.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/flickr30k_retrieval.py',
    '../_base_/schedules/adamw_cosine_6e_bs256.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='BottleneckAdapter', preset='pfeiffer', bottleneck=512),
    visual=dict(img_size=384),
    pfa=None)
