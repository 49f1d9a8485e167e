# python tools/train.py projects/mmpretrain_vit/configs/vit_lora.py
# No row of a paper: as vit_uniadapter.py with another method.
_base_ = './vit_uniadapter.py'

model = dict(backbone=dict(adapter=dict(_delete_=True, type='uniadapter.LoRA', rank=4)))
