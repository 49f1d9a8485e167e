# Runtime of grounding: MMEngine's loops; averages of the trained weights are what is validated, tested and saved as the model's.
_base_ = './default_runtime.py'
custom_hooks = [dict(type='EMAHook', momentum=0.0002, from_start=True)]
randomness = dict(seed=42)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
