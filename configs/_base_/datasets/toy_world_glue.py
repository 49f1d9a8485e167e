# The twin of GLUE: CoLA, MRPC and RTE about scenes of the embedded world (docs/unipt_t5.md). A leaf names the task.
_base_ = './glue.py'
_root = 'data/toy_world/glue/'
train_dataloader = dict(
    batch_size=50, num_workers=0, persistent_workers=False, dataset=dict(data_root=_root))
val_dataloader = dict(
    batch_size=100, num_workers=0, persistent_workers=False, dataset=dict(data_root=_root))
test_dataloader = dict(
    batch_size=100, num_workers=0, persistent_workers=False, dataset=dict(data_root=_root))
