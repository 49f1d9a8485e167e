"""Layers of both towers, attention written out, on the modules of the package's towers.

Weights are read from the modules and every formula is written here, so that no fast path of the
package's own forward methods is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class PairStates:
    """What the cross-attention of P pairs reads.

    Attributes:
        states (Tensor): (P, S, W), a copy of the medium's tokens for every pair, multiplied by the
            frame weights already where the states are weighted (PFA, paper variant).
        key_factor (Tensor, optional): (P, S), multiplied to the keys (PFA, released variant).
    """

    states: torch.Tensor
    key_factor: torch.Tensor | None = None


def linear(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """Apply the weight and bias of a linear layer to ``x`` (..., in)."""
    return F.linear(x, layer.weight, layer.bias)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    mask: torch.Tensor | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Multi-head attention, written out.

    Args:
        query (Tensor): (B, L, D).
        key (Tensor): (B, S, D).
        value (Tensor): (B, S, D).
        heads (int): Number of heads.
        mask (Tensor, optional): Added to the logits, broadcastable to (B, H, L, S).
        dropout (float): Dropout probability of the attention probabilities.

    Returns:
        Tensor: (B, L, D).
    """
    query, key, value = (
        x.reshape(*x.shape[:2], heads, -1).permute(0, 2, 1, 3) for x in (query, key, value)
    )
    scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + mask
    probs = F.dropout(torch.softmax(scores, dim=-1), dropout)
    return torch.matmul(probs, value).permute(0, 2, 1, 3).flatten(2)


def _named(modules: Any, use: str, width: int) -> Any:
    """The projection of a use: its own, or the one its width shares."""
    return next(modules[name] for name in (use, "shared", f"shared{width}") if name in modules)


def adapter_term(adapter: Any, index: int, use: str, x: torch.Tensor) -> torch.Tensor | float:
    """UniAdapter's term ``s (relu(x Wd + bd) W + b)`` of one use of one layer.

    Args:
        adapter (UniAdapter, optional): The adapter.
        index (int): Layer, from 0.
        use (str): ``'visual'``, ``'text'``, ``'cross'`` or ``'query'``.
        x (Tensor): (..., D).

    Returns:
        Tensor | float: (..., D), or 0 where the layer has no such term.
    """
    residual = "off" if adapter is None else adapter.options["query_residual"]
    tower = "cross" if use == "query" else use
    if (
        adapter is None
        or tower not in adapter.options["towers"]
        or str(index) not in adapter.layers
    ):
        return 0.0
    if use == "query":
        if residual == "off":
            return 0.0
        use = "text" if residual == "shared" else "query"
    layer, width = adapter.layers[str(index)], x.shape[-1]
    if len(layer.norm_before):
        x = _named(layer.norm_before, use, width)(x)
    hidden = F.relu(linear(_named(layer.down, use, width), x))
    hidden = F.dropout(hidden, layer.dropout.p, layer.training)
    out = linear(_named(layer.up, use, width), hidden)
    if use == "cross" and layer.textual_branch:
        out = out + linear(_named(layer.up, "text", width), hidden)
    if use == "cross" and layer.norm_cross is not None:
        out = layer.norm_cross(out)
    return layer.scale * out


def visual_tokens(visual: Any, adapter: Any, images: torch.Tensor) -> torch.Tensor:
    """Run the visual tower.

    Args:
        visual (BlipViT): The tower.
        adapter (UniAdapter, optional): The adapter.
        images (Tensor): (B, 3, H, W).

    Returns:
        Tensor: (B, M, D), the class token first.
    """
    x, resolution = visual.patch_embed(images)
    x = torch.cat((visual.cls_token.expand(len(x), -1, -1), x), dim=1)
    x = x + visual.resize_pos_embed(
        visual.pos_embed, visual.patch_resolution, resolution, visual.interpolate_mode, 1
    )
    for index, layer in enumerate(visual.layers):
        attention = layer.attn
        query, key, value = linear(attention.qkv, layer.ln1(x)).chunk(3, dim=-1)
        attended = attend(query, key, value, attention.num_heads)
        x = x + attention.out_drop(linear(attention.proj, attended))
        network = layer.ffn
        out = x + network.dropout_layer(network.layers(layer.ln2(x)))
        x = out + adapter_term(adapter, index, "visual", x)
    return visual.ln1(x)


def _output(block: Any, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    x = F.dropout(linear(block.dense, x), block.dropout.p, block.training)
    return block.LayerNorm(x + residual)


def _self_attention(block: Any, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    parts = block.self
    query, key, value = (linear(f, x) for f in (parts.query, parts.key, parts.value))
    dropout = parts.dropout_rate if parts.training else 0.0
    return _output(block.output, attend(query, key, value, parts.num_heads, mask, dropout), x)


def _kv_terms(pair: Any, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The released code's low-rank terms of keys and values, each (P, S, D)."""
    key = linear(pair.key["up"], linear(pair.key["down"], states)) * pair.key_scale
    value = linear(pair.value["up"], linear(pair.value["down"], states)) * pair.value_scale
    return key, value


def _cross_attention(
    block: Any,
    x: torch.Tensor,
    pairs: PairStates,
    terms: tuple[torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    parts = block.self
    query = linear(parts.query, x)
    key, value = linear(parts.key, pairs.states), linear(parts.value, pairs.states)
    if terms is not None:
        key, value = key + terms[0], value + terms[1]
    if pairs.key_factor is not None:
        key = key * pairs.key_factor[:, :, None]
    dropout = parts.dropout_rate if parts.training else 0.0
    return _output(block.output, attend(query, key, value, parts.num_heads, None, dropout), x)


def text_tokens(
    text: Any,
    adapter: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    pairs: PairStates | None = None,
) -> torch.Tensor:
    """Run the text tower, as multimodal encoder where ``pairs`` are given.

    With ``text.fusion_layer`` the layers below it run texts alone and end there without pairs; the
    others read what the pairs' texts read (ALBEF).

    Args:
        text (BertModel): The tower.
        adapter (UniAdapter, optional): The adapter.
        input_ids (Tensor): (P, L).
        attention_mask (Tensor): (P, L), 0 where a token is padding.
        pairs (PairStates, optional): What text p reads. None: text only.

    Returns:
        Tensor: (P, L, D).
    """
    words = text.embeddings
    x = F.embedding(input_ids, words.word_embeddings.weight)
    if words.has_types:
        x = x + words.token_type_embeddings.weight[0]
    x = words.LayerNorm(x + words.position_embeddings.weight[: input_ids.shape[1]])
    x = F.dropout(x, words.dropout.p, words.training)
    mask = (1.0 - attention_mask[:, None, None].to(x.dtype)) * torch.finfo(x.dtype).min
    kv = None if adapter is None else adapter.kv
    terms = None if pairs is None or kv is None else _kv_terms(kv, pairs.states)
    layers, begin = list(text.encoder.layer), text.fusion_layer
    for index, layer in enumerate(layers[:begin] if pairs is None and begin else layers):
        query = _self_attention(layer.attention, x, mask)
        if pairs is None or index < begin:
            hidden = query
            term = adapter_term(adapter, index, "text", query)
        else:
            hidden = _cross_attention(layer.crossattention, query, pairs, terms)
            term = adapter_term(adapter, index, "query", query)
            term = term + adapter_term(adapter, index, "cross", hidden)
        inner = F.gelu(linear(layer.intermediate.dense, hidden))
        x = _output(layer.output, inner, hidden) + term
    return x
