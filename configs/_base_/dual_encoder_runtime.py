# Runtime of retrieval with two towers side by side: ranked by similarity, nothing is re-ranked or ramped.
_base_ = './default_runtime.py'
val_cfg = dict(type='RetrievalValLoop', k_test=0)
test_cfg = dict(type='RetrievalTestLoop', k_test=0)
