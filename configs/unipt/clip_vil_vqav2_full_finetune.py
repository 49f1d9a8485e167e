# tools/dist_train.sh configs/unipt/clip_vil_vqav2_full_finetune.py 4
# Paper: full fine-tuning of CLIP-ViL, VQAv2 test-dev 76.71, test-std 76.86 (table 2 of arXiv 2605.04058).
_base_ = './clip_vil_vqav2.py'
model = dict(adapter=None, train_backbone=True)
# The paper's rate could not be read; a tenth of UniPT's.
optim_wrapper = dict(optimizer=dict(lr=5e-5))
