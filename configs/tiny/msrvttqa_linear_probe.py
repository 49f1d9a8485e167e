# python tools/train.py configs/tiny/msrvttqa_linear_probe.py
# The language-model head (not its word embeddings) on the frozen towers; no row of the paper (docs/embedded_data.md has ours).
_base_ = './msrvttqa_r32.py'
model = dict(adapter=None)
