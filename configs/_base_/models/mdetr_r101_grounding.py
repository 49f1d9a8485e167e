# MDETR with ResNet-101 and RoBERTa-base. The converter makes the file of MDETR's pretrained_resnet101_checkpoint.pth (docs/unipt_mdetr.md).
model = dict(
    type='GroundingModel',
    pretrained='checkpoints/mdetr_resnet101.safetensors',
    data_preprocessor=dict(
        type='GroundingDataPreprocessor',
        # RoBERTa's folder: tokenizer.json, or vocab.json and merges.txt.
        tokenizer=dict(type='RobertaTokenizer', file='checkpoints/roberta-base')),
    visual=dict(type='FrozenResNet', depths=[3, 4, 23, 3]),
    text=dict(type='RobertaText'),
    detr=dict(type='DetrTower', d_model=256, encoder_layers=6, decoder_layers=6, num_queries=100),
    adapter=dict(type='CoupledUniPT', taps='1,3,5', reduction=2))
