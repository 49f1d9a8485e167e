# Runtime of tasks that write or choose words: MMEngine's own validation and test loop.
_base_ = './default_runtime.py'
custom_hooks = []
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
