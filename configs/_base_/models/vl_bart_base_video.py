# VL-BART for the video tasks: 64 frames a video, as the data sets give them.
_base_ = './vl_bart_base.py'
model = dict(tasks=['tvqa', 'how2qa', 'tvc', 'yc2c'], feature_width=512, visual_tokens=None)
