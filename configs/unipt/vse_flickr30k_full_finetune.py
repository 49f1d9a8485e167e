# tools/train.py configs/unipt/vse_flickr30k_full_finetune.py
# Paper, table 1 of arXiv 2605.04058: full fine-tuning on Flickr30K, I2T R@1 85.6, T2I R@1 73.3, Rsum 546.6.
_base_ = [
    '../_base_/models/resnext101_bert_vse.py', '../_base_/datasets/flickr30k_precomp.py',
    '../_base_/schedules/adamw_step_25e_bs112.py', '../_base_/vse_runtime.py',
]
# VSE-infinity with its projections. The rates of the towers are ours: the table does not say them.
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(paramwise_cfg=dict(lr_of=dict(visual=5e-6, text=5e-5)))
