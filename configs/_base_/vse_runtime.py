# Runtime of VSE-infinity: all negatives in the first epoch, the hardest from then on; the best epoch by Rsum on the validation split.
_base_ = './dual_encoder_runtime.py'
custom_hooks = [dict(type='HardNegativeHook', epochs=1)]
default_hooks = dict(checkpoint=dict(save_best='Rsum'))
