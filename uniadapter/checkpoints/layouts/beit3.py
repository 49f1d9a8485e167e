"""BEiT-3's checkpoints for retrieval: pre-trained with the contrastive heads, and fine-tuned."""

from __future__ import annotations

from typing import Any

import torch

from .keys import Layout, Pair, State

# Rows in front of a position table that the original never reads.
_UNUSED = 2
_NOTE = f"the first {_UNUSED} rows of both position tables, which nothing reads, are left"
_MASK = "beit3.vision_embed.mask_token"
_PATCHES, _WORDS = "visual.pos_embed", "text.embeddings.position_embeddings.weight"


def _half(letter: str, tower: str) -> tuple[Pair, ...]:
    """Names of one modality's layers and final norm."""
    theirs, ours = "beit3.encoder.layers.{i}", f"{tower}.layers.{{i}}"
    parts = {
        f"self_attn_layer_norm.{letter}": "ln1",
        **{
            f"self_attn.{short}_proj.{letter}": f"attn.{name}"
            for short, name in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "proj"))
        },
        f"self_attn.inner_attn_ln.{letter}": "attn.norm",
        # Not the encoder's final norm, for all its name.
        f"final_layer_norm.{letter}": "ln2",
        f"ffn.{letter}.fc1": "ffn.fc1",
        f"ffn.{letter}.ffn_layernorm": "ffn.norm",
        f"ffn.{letter}.fc2": "ffn.fc2",
    }
    layers = (Pair(f"{theirs}.{a}.{{p}}", f"{ours}.{b}.{{p}}") for a, b in parts.items())
    return (*layers, Pair(f"beit3.encoder.layer_norm.{letter}.{{p}}", f"{tower}.norm.{{p}}"))


def _read_patches(table: torch.Tensor) -> torch.Tensor:
    """(2 + M, D) as (1, M, D)."""
    return table[_UNUSED:][None]


def _read_words(table: torch.Tensor) -> torch.Tensor:
    """(2 + L, D) as (L, D)."""
    return table[_UNUSED:]


BEIT3 = Layout(
    "beit3",
    (
        Pair("beit3.vision_embed.cls_token", "visual.cls_token"),
        Pair("beit3.vision_embed.proj.{p}", "visual.patch_embed.{p}"),
        Pair("beit3.encoder.embed_positions.A.weight", _PATCHES, read=_read_patches, note=_NOTE),
        *_half("A", "visual"),
        Pair("beit3.text_embed.weight", "text.embeddings.word_embeddings.weight"),
        Pair("beit3.encoder.embed_positions.B.weight", _WORDS, read=_read_words, note=_NOTE),
        *_half("B", "text"),
        Pair("vision_head.weight", "vision_proj.weight"),
        Pair("language_head.weight", "text_proj.weight"),
        Pair("logit_scale", "logit_scale"),
    ),
    ((_MASK.replace(".", r"\."), "mask token of the pre-training on masked patches"),),
)


def export_beit3(state: State, **_: Any) -> tuple[State, dict[str, str]]:
    """Write an own state dict in BEiT-3's layout.

    What the original has and never reads in retrieval, the mask token and the first two rows of
    the position tables, is zero.

    Args:
        state (dict[str, Tensor]): Towers, heads and scale by our name.

    Returns:
        tuple: Tensors by official name, and our names to official ones.
    """
    official, used = {}, {}
    for ours, tensor in state.items():
        for name in BEIT3.to_theirs(ours):
            if ours in (_PATCHES, _WORDS):
                rows = tensor.flatten(0, -2)
                tensor = torch.cat((rows.new_zeros(_UNUSED, rows.shape[1]), rows))
            official[name], used[ours] = tensor, name
    if "visual.cls_token" in state:
        official[_MASK] = torch.zeros_like(state["visual.cls_token"])
    return official, used
