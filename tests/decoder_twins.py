"""The same random decoder twice: transformers' and ours."""

from __future__ import annotations

import torch
from transformers import BlipConfig, BlipForConditionalGeneration

from uniadapter.models.backbones import BertDecoder

VOCAB, WIDTH, EOS = 120, 32, 3


def decoder_twins() -> tuple[BlipForConditionalGeneration, BertDecoder]:
    """The same random decoder, theirs and ours."""
    torch.manual_seed(0)
    text = {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "encoder_hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": VOCAB - 2,
        "sep_token_id": EOS,
        "eos_token_id": EOS,
        "pad_token_id": 0,
        "max_position_embeddings": 64,
        "is_decoder": True,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    theirs = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)).eval()
    # Positions outweigh words, or a random decoder repeats one word for ever.
    for name, parameter in theirs.named_parameters():
        if "LayerNorm" not in name:
            std = 2.0 if "position_embeddings" in name else 0.25
            torch.nn.init.normal_(parameter, std=std)
    ours = BertDecoder(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_layers=2,
        num_heads=2,
        intermediate_size=64,
        encoder_width=WIDTH,
        max_positions=64,
    ).eval()
    state = theirs.text_decoder.state_dict()
    ours.load_state_dict({name: state[name] for name in ours.state_dict()})
    return theirs, ours
