# tools/dist_train.sh configs/unipt/clip_vil_gqa_full_finetune.py 4
# Paper: full fine-tuning of CLIP-ViL, GQA test-dev 60.25, test-std 61.44 (table 2 of arXiv 2605.04058).
_base_ = './clip_vil_gqa.py'
model = dict(adapter=None, train_backbone=True)
# The paper's rate could not be read; a tenth of UniPT's.
optim_wrapper = dict(optimizer=dict(lr=1e-5))
