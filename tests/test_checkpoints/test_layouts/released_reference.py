"""The released code's forward pass, written from its formulas on its own state dict.

Independent of the package on purpose: plain functions on tensors, every frame weight applied to a
copy of the keys, nothing cached or shared.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

SCALE = 0.1
State = dict[str, torch.Tensor]


def linear(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    return x @ state[f"{name}.weight"].t() + state[f"{name}.bias"]


def norm(x: torch.Tensor, state: State, name: str, eps: float) -> torch.Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * state[f"{name}.weight"] + state[f"{name}.bias"]


def delta(x: torch.Tensor, state: State, layer: int, use: str) -> torch.Tensor:
    """delta_V, delta_T or delta_C of one layer."""
    name = f"adapters.{layer}"
    z = norm(x, state, f"{name}.adapter_layer_norm_before", 1e-5)
    hidden = torch.relu(linear(z, state, f"{name}.down_proj"))
    if use == "visual":
        return SCALE * linear(hidden, state, f"{name}.visual_up_proj")
    textual = linear(hidden, state, f"{name}.up_proj")
    if use == "text":
        return SCALE * textual
    total = linear(hidden, state, f"{name}.multi_up_proj") + textual
    return SCALE * norm(total, state, f"{name}.adapter_layer_norm_cross_modal", 1e-5)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of (B, L, D) to (B, S, D); mask (B, S) is 0 where a key is padding."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (query, key, value))
    logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        logits = logits + (1.0 - mask[:, None, None, :].float()) * -10000.0
    return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


def vision(images: torch.Tensor, state: State, layers: int, heads: int) -> torch.Tensor:
    """Tokens (B, M, D) of images (B, 3, H, W)."""
    patch = state["visual_encoder.patch_embed.proj.weight"]
    bias = state["visual_encoder.patch_embed.proj.bias"]
    x = F.conv2d(images, patch, bias, stride=patch.shape[-1]).flatten(2).transpose(1, 2)
    x = torch.cat((state["visual_encoder.cls_token"].expand(len(x), -1, -1), x), 1)
    x = x + state["visual_encoder.pos_embed"]
    for layer in range(layers):
        name = f"visual_encoder.blocks.{layer}"
        qkv = linear(norm(x, state, f"{name}.norm1", 1e-6), state, f"{name}.attn.qkv")
        x1 = x + linear(attend(*qkv.chunk(3, -1), heads), state, f"{name}.attn.proj")
        hidden = F.gelu(linear(norm(x1, state, f"{name}.norm2", 1e-6), state, f"{name}.mlp.fc1"))
        x = x1 + linear(hidden, state, f"{name}.mlp.fc2") + delta(x1, state, layer, "visual")
    return norm(x, state, "visual_encoder.norm", 1e-6)


def text(
    ids: torch.Tensor,
    mask: torch.Tensor,
    state: State,
    layers: int,
    heads: int,
    visual: torch.Tensor | None = None,
    key_factor: torch.Tensor | None = None,
) -> torch.Tensor:
    """Tokens (B, L, D) of texts; with visual tokens (B, S, D) as multimodal encoder.

    key_factor (B, S) multiplies the keys of cross-attention, after the low-rank term was added.
    """
    tower = "text_encoder"
    x = state[f"{tower}.embeddings.word_embeddings.weight"][ids]
    x = x + state[f"{tower}.embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = norm(x, state, f"{tower}.embeddings.LayerNorm", 1e-12)
    for layer in range(layers):
        name = f"{tower}.encoder.layer.{layer}"
        attention = f"{name}.attention"
        q, k, v = (linear(x, state, f"{attention}.self.{n}") for n in ("query", "key", "value"))
        out = linear(attend(q, k, v, heads, mask), state, f"{attention}.output.dense")
        query = hidden = norm(x + out, state, f"{attention}.output.LayerNorm", 1e-12)
        if visual is not None:
            cross = f"{name}.crossattention"
            key = linear(visual, state, f"{cross}.self.key") + low_rank(visual, state, "key")
            value = linear(visual, state, f"{cross}.self.value") + low_rank(visual, state, "value")
            if key_factor is not None:
                key = key * key_factor[:, :, None]
            seen = attend(linear(query, state, f"{cross}.self.query"), key, value, heads)
            out = linear(seen, state, f"{cross}.output.dense")
            hidden = norm(query + out, state, f"{cross}.output.LayerNorm", 1e-12)
        ffn = F.gelu(linear(hidden, state, f"{name}.intermediate.dense"))
        ffn = linear(ffn, state, f"{name}.output.dense")
        x = norm(hidden + ffn, state, f"{name}.output.LayerNorm", 1e-12)
        x = x + delta(query, state, layer, "text")
        if visual is not None:
            x = x + delta(hidden, state, layer, "cross")
    return x


def low_rank(visual: torch.Tensor, state: State, use: str) -> torch.Tensor:
    """The term of keys or values that all layers share."""
    name = f"text_encoder.encoder.video_{use}_adapter"
    down = linear(visual, state, f"{name}.down_proj")
    return linear(down, state, f"{name}.up_proj") * state[f"{name}.scale"]


def frame_factor(sims: torch.Tensor, tokens: int) -> torch.Tensor:
    """(P, N) cosines to a factor on N * tokens keys; class tokens keep theirs."""
    weights = sims.shape[1] * torch.softmax(sims / 4, dim=1)
    factor = weights[:, :, None].repeat(1, 1, tokens)
    factor[:, :, 0] = 1.0
    return factor.flatten(1)
