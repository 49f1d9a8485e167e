# The small VL-BART for the embedded videos: 20 frames each at most.
_base_ = './vl_bart_tiny.py'
model = dict(
    tasks=['tvqa', 'tvc'],
    visual_tokens=None,
    rules=dict(
        _delete_=True,
        tvqa=dict(generation=dict(num_beams=1)),
        tvc=dict(generation=dict(num_beams=1, max_length=28))))
