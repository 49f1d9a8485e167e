# tools/dist_train.sh configs/ablation/didemo_textual_branch_off.py 8
# Paper, table 14, no textual up-projection in the cross-modal one: R@1 51.6, R@5 76.5, R@10 83.6, R@Mean 70.6, MdR 1.
_base_ = [
    '../_base_/models/blip_base_retrieval.py', '../_base_/datasets/didemo_retrieval_8f.py',
    '../_base_/schedules/adamw_cosine_10e_bs64.py', '../_base_/retrieval_runtime.py',
]
model = dict(
    data_preprocessor=dict(max_text_len=64),
    adapter=dict(textual_branch=False))
