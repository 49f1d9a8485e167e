# Runtime of several tasks at once: what belongs to other tasks than a step's has no gradient. The last checkpoint counts.
_base_ = './answer_runtime.py'
find_unused_parameters = True
randomness = dict(seed=9595)
