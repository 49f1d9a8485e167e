# python tools/train.py configs/pretrain/clip_vil_tiny.py
# No row of the paper: a small CLIP-ViL from scratch on the embedded stills, by hidden words of their captions (docs/unipt_clip_vil.md).
_base_ = [
    '../_base_/models/clip_vil_tiny_vqa.py', '../_base_/datasets/toy_world_stills.py',
    '../_base_/schedules/adamw_cosine_pretrain_tiny.py', '../_base_/answer_runtime.py',
]
model = dict(
    pretrained=None, adapter=None, train_backbone=True, visual=dict(norm_eval=False))
train_dataloader = dict(
    dataset=dict(pipeline=[
        dict(type='FitAndPad', long_side=96, short_side=64),
        dict(type='CleanCaption', max_words=30),
        dict(type='HideWord', words=[
            'black', 'blue', 'green', 'orange', 'purple', 'red', 'white', 'yellow',
            'circle', 'cross', 'heart', 'ring', 'square', 'star', 'triangle',
            'checked', 'dotted', 'plain', 'striped', 'bottom', 'left', 'middle', 'right', 'top',
        ]),
        dict(type='PackInputs'),
    ]))
train_cfg = dict(max_epochs=1)
# Its words are those of the twin's answers; how much it learnt, the twin shows.
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = None
test_evaluator = None
test_cfg = None
