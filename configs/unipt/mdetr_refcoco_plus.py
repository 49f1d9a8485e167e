# tools/dist_train.sh configs/unipt/mdetr_refcoco_plus.py 2
# The row "UniPT", RefCOCO+ on MDETR, of table 2 of the paper arXiv 2605.04058, which lists UniPT's figures.
_base_ = [
    '../_base_/models/mdetr_r101_grounding.py', '../_base_/datasets/refcoco_plus_grounding.py',
    '../_base_/schedules/unipt_mdetr_10e_bs8.py', '../_base_/grounding_runtime.py',
]
