# python tools/train.py configs/easy_vqa/linear_probe.py
# The language-model head (not its word embeddings) on the frozen towers; no row of the paper (docs/easy_vqa.md has ours).
_base_ = './r64.py'
model = dict(adapter=None)
# Rate and length that were best on held-out questions (docs/easy_vqa.md).
optim_wrapper = dict(optimizer=dict(lr=3e-3))
