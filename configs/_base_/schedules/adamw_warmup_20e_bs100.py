# The same for the small tasks: CoLA, MRPC, RTE and STS-B.
_base_ = './adamw_warmup_10e_bs100.py'
train_cfg = dict(max_epochs=20)
