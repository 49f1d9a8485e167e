"""VSE-infinity's parts number by number, from their formulas: nothing of the package's code."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.test_models.test_adapters.test_unipt.reference import forward, reduce

# What the side networks of both towers have in common, from the paper's table of options.
_COMMON = {"projection": "linear", "out_act": True, "eps": 1e-8, "out_dim": 1}
PRESETS = {"vse_image": {**_COMMON, "norm": "batch"}, "vse_text": _COMMON}
Weights = dict[str, Tensor]


def code(rank: int, width: int) -> list[float]:
    """Sinusoidal code of a rank: sine and cosine of each rate in turn."""
    found = []
    for k in range(width // 2):
        rate = 10000 ** (-2 * k / width)
        found += [math.sin(rank * rate), math.cos(rank * rate)]
    return found


def gru(weights: Weights, inputs: list[Tensor], suffix: str) -> list[Tensor]:
    """One direction of a GRU over inputs (F,), states (H,) that begin with zeros."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w_in, w_state, b_in, b_state = (weights[f"gru.{name}_l0{suffix}"] for name in names)
    state = w_state.new_zeros(w_state.shape[1])
    found = []
    for x in inputs:
        r_in, z_in, n_in = (w_in @ x + b_in).chunk(3)
        r_state, z_state, n_state = (w_state @ state + b_state).chunk(3)
        reset, update = torch.sigmoid(r_in + r_state), torch.sigmoid(z_in + z_state)
        new = torch.tanh(n_in + reset * n_state)
        state = (1 - update) * new + update * state
        found.append(state)
    return found


def pool(weights: Weights, tokens: Tensor) -> Tensor:
    """GPO of real tokens (n, D), by a weight each for the largest, second largest and so on."""
    w_in = weights["gru.weight_ih_l0"]
    codes = [torch.tensor(code(rank, w_in.shape[1])).to(w_in) for rank in range(len(tokens))]
    ahead = gru(weights, codes, "")
    back = gru(weights, codes[::-1], "_reverse")[::-1]
    scores = [
        (weights["linear.weight"][0] * (a + b) / 2).sum() / 0.1
        for a, b in zip(ahead, back, strict=True)
    ]
    total = torch.logsumexp(torch.stack(scores), 0)
    pooled = []
    for channel in range(tokens.shape[1]):
        values = list(tokens[:, channel])
        values.sort(key=lambda value: float(value.detach()), reverse=True)
        pooled.append(
            sum((s - total).exp() * value for s, value in zip(scores, values, strict=True))
        )
    return torch.stack(pooled)  # type: ignore[arg-type]


def feature(weights: Weights, tokens: Tensor) -> Tensor:
    """The pooled tokens (n, D) in length 1."""
    pooled = pool(weights, tokens)
    return pooled / (pooled.square().sum().sqrt() + 1e-8)


def part(state: Weights, prefix: str) -> Weights:
    """The tensors whose names begin with a prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def side(state: Weights, role: str, preset: str, taps: list[Tensor], real: Tensor) -> Tensor:
    """A published side network's tokens (B, N, E) of taps, the guide last."""
    weights = part(state, f"adapter.sides.{role}.")
    options = {"confidence": "gate", "causal": False, "every_tap": False, **PRESETS[preset]}
    options = {"order": "linear-norm", "norm": "layer", "eps_mode": "add", **options}
    options = {"add_query": True, "out_norm": False, "out_residual": False, **options}
    options["residual"] = "identity"
    if preset == "vse_image":
        early = [reduce(weights, taps, number) for number in range(len(taps) - 1)]
        taps = [*early, taps[-1].flatten(2).transpose(1, 2)]
    return forward(weights, options, taps[:-1], taps[-1], real, torch.zeros(len(real)))


def images(state: Weights, stages: list[Tensor], kept: list[list[int]]) -> Tensor:
    """Features of images by the stages (B, C, H, W) of a network and the cells that are kept."""
    count = stages[-1].shape[2:].numel()
    tokens = side(state, "visual", "vse_image", stages, torch.ones(len(stages[0]), count))
    weights = part(state, "visual_pool.")
    return torch.stack([feature(weights, row[own]) for row, own in zip(tokens, kept, strict=True)])


def texts(state: Weights, hidden: list[Tensor], lengths: list[int]) -> Tensor:
    """Features of texts by the states (T, L, D) of BERT, from the embedding to the last layer."""
    real = torch.tensor([[n < length for n in range(hidden[0].shape[1])] for length in lengths])
    tokens = side(state, "text", "vse_text", hidden, real.long())
    weights = part(state, "text_pool.")
    rows = [feature(weights, row[:length]) for row, length in zip(tokens, lengths, strict=True)]
    return torch.stack(rows)
