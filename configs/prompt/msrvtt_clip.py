# tools/dist_train.sh configs/prompt/msrvtt_clip.py 8
# CLIP-Prompt (paper table 5: 6.4M), in our form: prompts before the words, two layers over frames.
_base_ = [
    '../_base_/models/clip_b16_retrieval.py', '../_base_/datasets/msrvtt_retrieval.py',
    '../_base_/schedules/adamw_cosine_5e_bs64.py', '../_base_/dual_encoder_runtime.py',
]
model = dict(
    adapter=dict(_delete_=True, type='Prompt', text=16, visual=0),
    pooling=dict(type='TemporalPooling', width=512, num_layers=2, num_heads=8, max_frames=16),
    # 77 positions, of which prompts take 16.
    data_preprocessor=dict(max_text_len=61))
