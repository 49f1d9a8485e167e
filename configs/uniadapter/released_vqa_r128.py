# tools/dist_train.sh configs/uniadapter/released_vqa_r128.py 8
# Loads the authors' VQA checkpoints of r=128 (docs/checkpoints.md): their norms, key/value pairs and stochastic depth; no row of the paper.
_base_ = [
    '../_base_/models/blip_base_vqa.py', '../_base_/datasets/vqav2.py',
    '../_base_/schedules/adamw_cosine_10e_bs128.py', '../_base_/answer_runtime.py',
]
# A checkpoint's position embeddings (224 pixels) are interpolated to the 480 of the pipelines.
model = dict(
    visual=dict(drop_path_rate=0.1),
    adapter=dict(bottleneck=128, variant='released', kv_rank=64),
    label_smoothing=0.1,
    answer_list='data/vqav2/answer_list.json')
val_cfg = None
