# python tools/train.py configs/tiny/vl_t5_pretrain.py
# No row of the paper: a small T5 from scratch on texts of the embedded world (docs/vl_adapter.md).
_base_ = [
    '../_base_/models/vl_t5_tiny.py', '../_base_/datasets/toy_world_vl_texts.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/default_runtime.py',
]
model = dict(
    _delete_=True,
    type='Seq2SeqModel',
    text=_base_.model.text,
    data_preprocessor=dict(
        type='TextDataPreprocessor',
        tokenizer=_base_.model.data_preprocessor.tokenizer,
        max_text_len=64),
    train_backbone=True,
    max_target_len=32)
train_dataloader = dict(dataset=dict(ann_file='pretrain_t5.jsonl'))
optim_wrapper = dict(optimizer=dict(lr=3e-3, weight_decay=0.0), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='WarmupLinearLR', warmup=0.05, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=1)
