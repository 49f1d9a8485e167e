# tools/dist_train.sh configs/unipt/mdetr_refcocog_full_finetune.py 2
# The row "full fine-tuning", RefCOCOg on MDETR, of table 2 of the paper arXiv 2605.04058; learning rates are MDETR's own.
_base_ = './mdetr_refcocog.py'
# As in MDETR, the stem and the first stage of the ResNet stay as they are.
model = dict(adapter=None, train_backbone=True)
optim_wrapper = dict(
    optimizer=dict(lr=5e-5),
    paramwise_cfg=dict(lr_of=dict(_delete_=True, visual=1e-5, text=1e-5)))
