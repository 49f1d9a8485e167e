# Runtime of CLIP4Clip: the epoch with the best text-to-video R@1 is kept; it is chosen on the test split, as the authors choose.
_base_ = './dual_encoder_runtime.py'
default_hooks = dict(checkpoint=dict(save_best='t2v/R1', rule='greater'))
randomness = dict(seed=42)
