# PYTHONPATH=. python tools/train.py projects/transformers_clip/configs/clip_uniadapter.py
# No row of a paper: a model of transformers' with adapters by config.
_base_ = '../../configs/retrieval.py'
custom_imports = dict(imports=['uniadapter', 'projects.transformers_clip.clip_model'])

tower = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
model = dict(
    _delete_=True,
    type='AdaptedCLIP',
    clip=dict(  # a folder of CLIPModel.save_pretrained, such as 'checkpoints/clip-vit-base-patch16'
        vision_config=dict(image_size=32, patch_size=8, **tower),
        text_config=dict(
            vocab_size=187,
            max_position_embeddings=12,
            bos_token_id=2,
            eos_token_id=3,
            pad_token_id=0,
            **tower,
        ),
        projection_dim=16,
    ),
    vision=dict(type='UniAdapter', towers=['visual'], bottleneck=8),
    text=dict(type='LoRA', rank=4),
    data_preprocessor=dict(
        type='MultimodalDataPreprocessor',
        max_text_len=12,
        tokenizer=dict(vocab_file='configs/tiny/vocab.txt'),
    ),
)
val_dataloader = dict(batch_size=1000, dataset=dict(test_mode=False))
test_dataloader = val_dataloader
val_cfg = dict(_delete_=True, type='ValLoop')
test_cfg = dict(_delete_=True, type='TestLoop')
custom_hooks = []
