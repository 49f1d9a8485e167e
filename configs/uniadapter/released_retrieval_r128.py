# tools/dist_train.sh configs/uniadapter/released_retrieval_r128.py 8
# Loads the authors' retrieval checkpoints of r=128 (docs/checkpoints.md): their norms and key/value pair, MSR-VTT's pipelines; no row of the paper.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/retrieval_runtime.py',
]
# At 224 pixels a checkpoint of 384 is interpolated; model.visual.img_size=384 takes it as it is.
model = dict(adapter=dict(bottleneck=128, variant='released', kv_rank=64))
