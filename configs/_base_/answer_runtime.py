# Runtime of tasks that write or choose words: MMEngine's own validation and test loop.
_base_ = './default_runtime.py'
val_cfg = dict()
test_cfg = dict()
