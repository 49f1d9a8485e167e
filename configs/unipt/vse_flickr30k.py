# tools/train.py configs/unipt/vse_flickr30k.py
# Paper, table 1 of arXiv 2605.04058: UniPT on Flickr30K, I2T R@1 84.8, T2I R@1 69.1, Rsum 537.4.
_base_ = [
    '../_base_/models/resnext101_bert_vse.py', '../_base_/datasets/flickr30k_precomp.py',
    '../_base_/schedules/adamw_step_25e_bs112.py', '../_base_/vse_runtime.py',
]
