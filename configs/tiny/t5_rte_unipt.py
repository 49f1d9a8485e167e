# python tools/train.py configs/tiny/t5_rte_unipt.py
# UniPT on a small T5, embedded RTE; no row of the paper: it has no embedded data (docs/unipt_t5.md has ours).
_base_ = [
    '../_base_/models/t5_tiny.py', '../_base_/datasets/toy_world_glue_rte.py',
    '../_base_/schedules/adamw_glue_tiny.py', '../_base_/glue_runtime.py',
]
# On val ahead of the start at the frozen model.
model = dict(adapter=dict(start='published'))
