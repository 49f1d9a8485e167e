# Runtime of retrieval: both stages of the evaluation and the ramp of the soft targets.
_base_ = './default_runtime.py'
custom_hooks = [dict(type='AlphaRampHook', epochs=1)]
val_cfg = dict(type='RetrievalValLoop', k_test=128, itc_weight=0.0)
test_cfg = dict(type='RetrievalTestLoop', k_test=128, itc_weight=0.0)
