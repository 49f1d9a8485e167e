# python tools/train.py configs/tiny/flickr30k_vse_full_finetune.py
# Everything is trained, nothing is added; no row of the paper (docs/embedded_data.md has ours).
_base_ = './flickr30k_vse_unipt.py'
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
