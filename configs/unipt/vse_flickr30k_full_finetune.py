# tools/train.py configs/unipt/vse_flickr30k_full_finetune.py
# Table 1 of arXiv 2605.04058: full fine-tuning on Flickr30K, I2T R@1 85.6, T2I R@1 73.3, Rsum 546.6.
_base_ = "./vse_flickr30k.py"
model = dict(adapter=None, train_backbone=True)
