# Runtime of GLUE: MMEngine's loops; the checkpoint that validates best is kept.
_base_ = './answer_runtime.py'
default_hooks = dict(checkpoint=dict(save_best='score', rule='greater', max_keep_ckpts=1))
