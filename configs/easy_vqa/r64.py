# python tools/train.py configs/easy_vqa/r64.py
# UniAdapter (share down, r=64) and the language-model head; no row of the paper: easy-VQA is not in it (docs/easy_vqa.md has ours).
_base_ = [
    '../_base_/models/blip_tiny_vqa.py', '../_base_/datasets/easy_vqa.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/answer_runtime.py',
]
# The data set's words that the small vocabulary lacks stand where its digits 0 to 7 were, of which no caption of a still has any.
# Pictures keep their 64 pixels: position embeddings are interpolated from 48.
# The frozen word embeddings hold 8 of the 13 answers as they were drawn: the head that reads them out is trained.
model = dict(
    data_preprocessor=dict(tokenizer=dict(vocab_file='configs/easy_vqa/vocab.txt')),
    visual=dict(img_size=64),
    adapter=dict(bottleneck=64, scale=1.0),
    train_lm_head=True,
    label_smoothing=0.0,
    answer_list=[
        'yes', 'no', 'circle', 'rectangle', 'triangle', 'black', 'blue', 'brown', 'gray', 'green', 'red', 'teal', 'yellow'])
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=8, val_interval=8)
