"""ALBEF from the formulas, on the published names; shares no code with the package.

One text, image or pair at a time, head by head, without padding and without fused operations.
Adapters are a layer number's dict of matrices: ``down`` and, where it has them, ``visual``,
``text`` and ``cross``, each (weight, bias).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]
Adapters = Mapping[int, Mapping[str, Any]]
SCALE = 0.1

_BLOCK = {
    "norm1": "d",
    "attn.qkv": "3d,d",
    "attn.proj": "d,d",
    "norm2": "d",
    "mlp.fc1": "f,d",
    "mlp.fc2": "d,f",
}
_ATTENTION = {
    "self.query": "d,d",
    "self.key": "d,d",
    "self.value": "d,d",
    "output.dense": "d,d",
    "output.LayerNorm": "d",
}
_FFN = {"intermediate.dense": "f,d", "output.dense": "d,f", "output.LayerNorm": "d"}


class _Shapes(dict[str, tuple[int, ...]]):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.sizes = {"d": d, "3d": 3 * d, "f": 4 * d}

    def add(self, name: str, shape: str) -> None:
        rows = tuple(self.sizes[part] for part in shape.split(","))
        self[f"{name}.weight"], self[f"{name}.bias"] = rows, rows[:1]

    def bert(self, body: str, layers: int, words: int, fusion: int, positions: int) -> None:
        d = self.sizes["d"]
        self[f"{body}.embeddings.word_embeddings.weight"] = (words, d)
        self[f"{body}.embeddings.position_embeddings.weight"] = (positions, d)
        self[f"{body}.embeddings.token_type_embeddings.weight"] = (2, d)
        self.add(f"{body}.embeddings.LayerNorm", "d")
        for i in range(layers):
            for kind in ("attention", "crossattention") if i >= fusion else ("attention",):
                for name, shape in _ATTENTION.items():
                    self.add(f"{body}.encoder.layer.{i}.{kind}.{name}", shape)
            for name, shape in _FFN.items():
                self.add(f"{body}.encoder.layer.{i}.{name}", shape)


def key_list(
    d: int, layers: int, patches: int, words: int, fusion: int, positions: int, embed: int | None
) -> dict[str, tuple[int, ...]]:
    """Shapes by name of a retrieval file's towers, heads and temperature.

    Without ``embed`` those of a VQA file, whose decoder is as deep as the fusing layers.
    """
    found = _Shapes(d)
    found["visual_encoder.cls_token"] = (1, 1, d)
    found["visual_encoder.pos_embed"] = (1, 1 + patches, d)
    found["visual_encoder.patch_embed.proj.weight"] = (d, 3, 16, 16)
    found["visual_encoder.patch_embed.proj.bias"] = (d,)
    for i in range(layers):
        for name, shape in _BLOCK.items():
            found.add(f"visual_encoder.blocks.{i}.{name}", shape)
    found.add("visual_encoder.norm", "d")
    found.bert("text_encoder", layers, words, fusion, positions)
    if embed is None:
        found.bert("text_decoder.bert", layers - fusion, words, 0, positions)
        head = "text_decoder.cls.predictions"
        found.add(f"{head}.transform.dense", "d,d")
        found.add(f"{head}.transform.LayerNorm", "d")
        found[f"{head}.bias"] = (words,)
        return found
    for name, rows in (("vision_proj", embed), ("text_proj", embed), ("itm_head", 2)):
        found[f"{name}.weight"], found[f"{name}.bias"] = (rows, d), (rows,)
    return {**found, "temp": ()}


def _norm(x: Tensor, state: State, name: str, eps: float) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    spread = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (spread + eps).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    size = q.shape[1] // heads
    later = torch.ones(len(q), len(k)).triu(1).bool() & causal
    parts = []
    for head in range(heads):
        at = slice(head * size, (head + 1) * size)
        logits = q[:, at] @ k[:, at].T / math.sqrt(size)
        parts.append(logits.masked_fill(later, -math.inf).softmax(1) @ v[:, at])
    return torch.cat(parts, 1)


def _term(x: Tensor, adapter: Mapping[str, Any], *ups: str) -> Tensor:
    weight, bias = adapter["down"]
    hidden = (x @ weight.T + bias).clamp(min=0)
    return SCALE * sum(hidden @ adapter[up][0].T + adapter[up][1] for up in ups)


def image(pixels: Tensor, state: State, heads: int, adapters: Adapters | None = None) -> Tensor:
    """Tokens (1 + M, d) of an image (3, H, W)."""
    weight, bias = (state[f"visual_encoder.patch_embed.proj.{name}"] for name in ("weight", "bias"))
    rows = [state["visual_encoder.cls_token"][0, 0]]
    for top in range(0, pixels.shape[1], 16):
        for left in range(0, pixels.shape[2], 16):
            patch = pixels[:, top : top + 16, left : left + 16]
            rows.append((weight * patch).sum((1, 2, 3)) + bias)
    x, i = torch.stack(rows) + state["visual_encoder.pos_embed"][0], 0
    while f"visual_encoder.blocks.{i}.norm1.weight" in state:
        block = f"visual_encoder.blocks.{i}"
        q, k, v = _linear(
            _norm(x, state, f"{block}.norm1", 1e-6), state, f"{block}.attn.qkv"
        ).chunk(3, 1)
        x1 = x + _linear(_attend(q, k, v, heads), state, f"{block}.attn.proj")
        n = _norm(x1, state, f"{block}.norm2", 1e-6)
        x = x1 + _linear(_gelu(_linear(n, state, f"{block}.mlp.fc1")), state, f"{block}.mlp.fc2")
        if adapters is not None:
            x = x + _term(x1, adapters[i], "visual")
        i += 1
    return _norm(x, state, "visual_encoder.norm", 1e-6)


def _block(
    x: Tensor, seen: Tensor, state: State, name: str, heads: int, causal: bool = False
) -> Tensor:
    q = _linear(x, state, f"{name}.self.query")
    k, v = (_linear(seen, state, f"{name}.self.{part}") for part in ("key", "value"))
    out = _linear(_attend(q, k, v, heads, causal), state, f"{name}.output.dense")
    return _norm(out + x, state, f"{name}.output.LayerNorm", 1e-12)


def _feed_forward(x: Tensor, state: State, layer: str) -> Tensor:
    hidden = _gelu(_linear(x, state, f"{layer}.intermediate.dense"))
    out = _linear(hidden, state, f"{layer}.output.dense")
    return _norm(out + x, state, f"{layer}.output.LayerNorm", 1e-12)


def _embed(ids: list[int], state: State, tables: str) -> Tensor:
    words, types = (state[f"{tables}.{n}_embeddings.weight"] for n in ("word", "token_type"))
    places = state[f"{tables}.position_embeddings.weight"]
    rows = [words[index] + types[0] + places[place] for place, index in enumerate(ids)]
    return _norm(torch.stack(rows), state, f"{tables}.LayerNorm", 1e-12)


def text(
    ids: list[int], state: State, heads: int, fusion: int, adapters: Adapters | None = None
) -> Tensor:
    """Tokens (L, d) of a text's ids behind the layers below ``fusion``."""
    x = _embed(ids, state, "text_encoder.embeddings")
    for i in range(fusion):
        layer = f"text_encoder.encoder.layer.{i}"
        h = _block(x, x, state, f"{layer}.attention", heads)
        x = _feed_forward(h, state, layer)
        if adapters is not None:
            x = x + _term(h, adapters[i], "text")
    return x


def fuse(
    x: Tensor,
    seen: Tensor,
    state: State,
    heads: int,
    fusion: int,
    adapters: Adapters | None = None,
) -> Tensor:
    """Text tokens (L, d) that have read an image's tokens, by the layers from ``fusion`` on."""
    i = fusion
    while f"text_encoder.encoder.layer.{i}.output.dense.weight" in state:
        adapter = None if adapters is None else adapters[i]
        x = _read(x, seen, state, f"text_encoder.encoder.layer.{i}", heads, adapter)
        i += 1
    return x


def _read(
    x: Tensor,
    seen: Tensor,
    state: State,
    layer: str,
    heads: int,
    adapter: Mapping[str, Any] | None,
    causal: bool = False,
) -> Tensor:
    q = _block(x, x, state, f"{layer}.attention", heads, causal)
    h = _block(q, seen, state, f"{layer}.crossattention", heads)
    out = _feed_forward(h, state, layer)
    if adapter is None:
        return out
    return out + _term(q, adapter, "text") + _term(h, adapter, "text", "cross")


def answer(
    ids: list[int],
    seen: Tensor,
    state: State,
    heads: int,
    fusion: int,
    adapters: Adapters | None = None,
) -> Tensor:
    """Log-probability of all words of an answer but the first, which it begins with.

    The decoder's layer j has the adapter of layer ``fusion`` + j, from which it was initialised.
    """
    x, i = _embed(ids, state, "text_decoder.bert.embeddings"), 0
    while f"text_decoder.bert.encoder.layer.{i}.output.dense.weight" in state:
        adapter = None if adapters is None else adapters[fusion + i]
        layer = f"text_decoder.bert.encoder.layer.{i}"
        x = _read(x, seen, state, layer, heads, adapter, causal=True)
        i += 1
    head = "text_decoder.cls.predictions"
    x = _gelu(_linear(x, state, f"{head}.transform.dense"))
    x = _norm(x, state, f"{head}.transform.LayerNorm", 1e-12)
    words = state["text_decoder.bert.embeddings.word_embeddings.weight"]
    logits = (x @ words.T + state[f"{head}.bias"]).log_softmax(1)
    return sum(logits[place, index] for place, index in enumerate(ids[1:]))


def features(tokens: Tensor, state: State, name: str) -> Tensor:
    """The contrastive feature (E,) of an image or a text by its first token."""
    x = _linear(tokens[0], state, name)
    return x / x.norm()


def matching(fused: Tensor, state: State) -> Tensor:
    """Logits (2,) of a pair, 1 being the match."""
    return _linear(fused[0], state, "itm_head")
