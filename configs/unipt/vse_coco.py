# tools/train.py configs/unipt/vse_coco.py
# Paper, table 1 of arXiv 2605.04058: UniPT on COCO, 1K: I2T R@1 80.6, T2I R@1 67.5, Rsum 532.9; 5K: 61.1, 45.9, 445.3.
_base_ = [
    '../_base_/models/resnext101_bert_vse.py', '../_base_/datasets/coco_precomp.py',
    '../_base_/schedules/adamw_step_25e_bs112.py', '../_base_/vse_runtime.py',
]
# The mean over five folds of 1,000 images; test_cfg.folds=1 is the test on all 5,000.
test_cfg = dict(folds=5)
