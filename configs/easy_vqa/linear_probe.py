# python tools/train.py configs/easy_vqa/linear_probe.py
# The language-model head (not its word embeddings) on the frozen towers; no row of the paper (docs/easy_vqa.md has ours).
_base_ = './r64.py'
model = dict(adapter=None)
train_cfg = dict(max_epochs=5, val_interval=5)
