"""BART folders of transformers, whose names are ours behind the name of the tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .keys import Layout, Pair, State
from .language import read_language

_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


def _stack(name: str, *attentions: str) -> tuple[str, ...]:
    """Names of one stack's tensors, with the fields ``{i}`` and ``{p}``."""
    names = [f"{name}.layernorm_embedding.{{p}}", f"{name}.embed_positions.weight"]
    layer = f"{name}.layers.{{i}}"
    for attention in attentions:
        names += [f"{layer}.{attention}.{part}.{{p}}" for part in _ATTENTION]
        names.append(f"{layer}.{attention}_layer_norm.{{p}}")
    names += [f"{layer}.{part}.{{p}}" for part in ("fc1", "fc2", "final_layer_norm")]
    return tuple(names)


#: Names of both stacks behind ``model.``, which are ours behind ``text.``.
BART_NAMES = (*_stack("encoder", "self_attn"), *_stack("decoder", "self_attn", "encoder_attn"))
# All of them one matrix.
_TABLES = ("shared", "encoder.embed_tokens", "decoder.embed_tokens")
BART_FOLDER = Layout(
    "bart-hf",
    (
        Pair("final_logits_bias", "text.final_logits_bias"),
        Pair("lm_head.weight", "text.shared.weight"),
        # A model without its head is saved without the beginning.
        *(
            Pair(f"{begin}{name}", f"text.{name}")
            for name in BART_NAMES
            for begin in ("model.", "")
        ),
        *(
            Pair(f"{begin}{name}.weight", "text.shared.weight")
            for name in _TABLES
            for begin in ("model.", "")
        ),
    ),
    ((r"(?:model\.)?(?:en|de)coder\.version", "a number of the original's files"),),
)
# What shapes do not tell, with transformers' values where config.json leaves it out.
_DEFAULTS = {
    "activation_function": "gelu",
    "scale_embedding": False,
    "tie_word_embeddings": True,
}


def read_bart_folder(path: str | Path, model: Any) -> tuple[State, list[str]]:
    """Read a BART folder of transformers, or a weight file in one; see :func:`read_language`."""
    state, notes = read_language(path, model, BART_FOLDER, "bart", _DEFAULTS, "BART")
    if "final_logits_bias" not in state:
        # Of a model without its head, where transformers begins with zeros.
        state["final_logits_bias"] = torch.zeros(1, model.text.vocab_size)
        notes.append("no final_logits_bias in the source: it is 0, as transformers has it")
    return state, notes
