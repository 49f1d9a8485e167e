"""BEiT-3's two halves from the formulas, on the published names; shares no code with the package.

One text or image at a time, head by head, without padding and without fused operations.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

State = dict[str, Tensor]

# Names and shapes of a retrieval checkpoint of width d, with inner width f, M rows of the table of
# patches and V words; {i} is a layer, {h} is A (vision) and B (language).
KEYS = """
beit3.text_embed.weight V,d
beit3.vision_embed.cls_token 1,1,d
beit3.vision_embed.mask_token 1,1,d
beit3.vision_embed.proj.weight d,3,16,16
beit3.vision_embed.proj.bias d
beit3.encoder.embed_positions.A.weight M,d
beit3.encoder.embed_positions.B.weight 1024,d
beit3.encoder.layers.{i}.self_attn.k_proj.{h}.weight d,d
beit3.encoder.layers.{i}.self_attn.k_proj.{h}.bias d
beit3.encoder.layers.{i}.self_attn.v_proj.{h}.weight d,d
beit3.encoder.layers.{i}.self_attn.v_proj.{h}.bias d
beit3.encoder.layers.{i}.self_attn.q_proj.{h}.weight d,d
beit3.encoder.layers.{i}.self_attn.q_proj.{h}.bias d
beit3.encoder.layers.{i}.self_attn.out_proj.{h}.weight d,d
beit3.encoder.layers.{i}.self_attn.out_proj.{h}.bias d
beit3.encoder.layers.{i}.self_attn.inner_attn_ln.{h}.weight d
beit3.encoder.layers.{i}.self_attn.inner_attn_ln.{h}.bias d
beit3.encoder.layers.{i}.self_attn_layer_norm.{h}.weight d
beit3.encoder.layers.{i}.self_attn_layer_norm.{h}.bias d
beit3.encoder.layers.{i}.ffn.{h}.fc1.weight f,d
beit3.encoder.layers.{i}.ffn.{h}.fc1.bias f
beit3.encoder.layers.{i}.ffn.{h}.fc2.weight d,f
beit3.encoder.layers.{i}.ffn.{h}.fc2.bias d
beit3.encoder.layers.{i}.ffn.{h}.ffn_layernorm.weight f
beit3.encoder.layers.{i}.ffn.{h}.ffn_layernorm.bias f
beit3.encoder.layers.{i}.final_layer_norm.{h}.weight d
beit3.encoder.layers.{i}.final_layer_norm.{h}.bias d
beit3.encoder.layer_norm.{h}.weight d
beit3.encoder.layer_norm.{h}.bias d
vision_head.weight d,d
language_head.weight d,d
logit_scale -
"""


def key_list(d: int, layers: int, patches: int, words: int = 64010) -> dict[str, tuple[int, ...]]:
    """Shapes by published name."""
    sizes = {"d": d, "f": 4 * d, "M": patches + 3, "V": words}
    found: dict[str, tuple[int, ...]] = {}
    for line in KEYS.split("\n"):
        if not line:
            continue
        name, text = line.split()
        parts = [] if text == "-" else text.split(",")
        shape = tuple(sizes[part] if part in sizes else int(part) for part in parts)
        for layer in range(layers) if "{i}" in name else (0,):
            for half in "AB" if "{h}" in name else ("",):
                found[name.replace("{i}", str(layer)).replace("{h}", half)] = shape
    return found


def _norm(x: Tensor, state: State, name: str) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    spread = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (spread + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _attention(x: Tensor, state: State, layer: str, half: str, heads: int) -> Tensor:
    q, k, v = (_linear(x, state, f"{layer}.self_attn.{n}_proj.{half}") for n in "qkv")
    size = x.shape[1] // heads
    parts = []
    for head in range(heads):
        at = slice(head * size, (head + 1) * size)
        weights = (q[:, at] @ k[:, at].T / math.sqrt(size)).exp()
        parts.append(weights / weights.sum(1, keepdim=True) @ v[:, at])
    joined = _norm(torch.cat(parts, 1), state, f"{layer}.self_attn.inner_attn_ln.{half}")
    return _linear(joined, state, f"{layer}.self_attn.out_proj.{half}")


def _feed_forward(x: Tensor, state: State, layer: str, half: str) -> Tensor:
    x = _linear(x, state, f"{layer}.ffn.{half}.fc1")
    x = x * (1 + torch.erf(x / math.sqrt(2))) / 2
    x = _norm(x, state, f"{layer}.ffn.{half}.ffn_layernorm")
    return _linear(x, state, f"{layer}.ffn.{half}.fc2")


def run(x: Tensor, state: State, half: str, heads: int, adapters: list | None = None) -> Tensor:
    """Tokens (L, d) after all layers and the final norm.

    ``adapters`` are a layer's (down weight, down bias, up weight, up bias, scale).
    """
    index = 0
    while f"beit3.encoder.layers.{index}.ffn.A.fc1.weight" in state:
        layer = f"beit3.encoder.layers.{index}"
        n = _norm(x, state, f"{layer}.self_attn_layer_norm.{half}")
        x = x + _attention(n, state, layer, half, heads)
        out = x + _feed_forward(
            _norm(x, state, f"{layer}.final_layer_norm.{half}"), state, layer, half
        )
        if adapters is not None:
            down, down_bias, up, up_bias, scale = adapters[index]
            hidden = (x @ down.T + down_bias).clamp(min=0)
            out = out + scale * (hidden @ up.T + up_bias)
        x, index = out, index + 1
    return _norm(x, state, f"beit3.encoder.layer_norm.{half}")


def image(pixels: Tensor, state: State, heads: int, adapters: list | None = None) -> Tensor:
    """Tokens (1 + M, d) of an image (3, H, W)."""
    weight, bias = (state[f"beit3.vision_embed.proj.{name}"] for name in ("weight", "bias"))
    rows = [state["beit3.vision_embed.cls_token"][0, 0]]
    for top in range(0, pixels.shape[1], 16):
        for left in range(0, pixels.shape[2], 16):
            patch = pixels[:, top : top + 16, left : left + 16]
            rows.append((weight * patch).sum((1, 2, 3)) + bias)
    x = torch.stack(rows)
    table = state["beit3.encoder.embed_positions.A.weight"]
    return run(x + table[2 : 2 + len(x)], state, "A", heads, adapters)


def text(ids: list[int], state: State, heads: int, adapters: list | None = None) -> Tensor:
    """Tokens (L, d) of a text's ids."""
    x = torch.stack([state["beit3.text_embed.weight"][index] for index in ids])
    table = state["beit3.encoder.embed_positions.B.weight"]
    return run(x + table[2 : 2 + len(x)], state, "B", heads, adapters)
