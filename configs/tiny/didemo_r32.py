# python tools/train.py configs/tiny/didemo_r32.py
# UniAdapter (share down, r=32); no row of the paper: it has no embedded data (docs/embedded_data.md has ours).
_base_ = [
    '../_base_/models/blip_tiny_retrieval.py', '../_base_/datasets/toy_world_didemo.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    adapter=dict(bottleneck=32, scale=1.0), pfa=dict(temperature=0.3), momentum=0.98,
    data_preprocessor=dict(max_text_len=64))
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=8, val_interval=8)
val_cfg = dict(k_test=64)
test_cfg = dict(k_test=64)
