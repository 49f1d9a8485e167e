# python tools/train.py configs/tiny/vl_t5_image_single.py
# A single adapter in a small VL-T5, embedded image tasks; no row of the paper: it has no embedded data (docs/vl_adapter.md has ours).
_base_ = [
    '../_base_/models/vl_t5_tiny.py', '../_base_/datasets/toy_world_vl_image.py',
    '../_base_/schedules/vl_adapter_tiny.py', '../_base_/vl_runtime.py',
]
