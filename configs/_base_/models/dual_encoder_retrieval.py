# Two towers side by side, nothing that fuses them: contrast within the batch, UniAdapter on both. The towers are the leaves'.
model = dict(
    type='RetrievalModel',
    data_preprocessor=dict(type='MultimodalDataPreprocessor'),
    adapter=dict(type='UniAdapter', bottleneck=512, scale=0.1, towers=['visual', 'text']),
    contrast=dict(type='BatchContrastHead'),
    matching=None)
