"""UniPT's side network number by number, from the method's formulas: nothing of the package's code.

Of a :class:`SideNet` it reads the weights, by their names in its state dict.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def affine(weights: Weights, name: str, x: Tensor) -> Tensor:
    """x W^T + b of (B, N, D)."""
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(weights: Weights, name: str, kind: str, x: Tensor) -> Tensor:
    """Layer or (training) batch norm of (B, N, h), eps 1e-5."""
    axes = -1 if kind == "layer" else (0, 1)
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    x = (x - mean) / (variance + 1e-5).sqrt()
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attend(query: Tensor, tap: Tensor, keep: list[int], options: dict[str, Any]) -> Tensor:
    """One row's one query (h,) over the kept keys of its tap (N, h)."""
    total, value = torch.zeros(()), torch.zeros_like(query)
    for n in keep:
        similarity = torch.clamp((query * tap[n]).sum(), min=0)
        total, value = total + similarity, value + similarity * tap[n]
    eps = options["eps"]
    return value / (torch.clamp(total, min=eps) if options["eps_mode"] == "clamp" else total + eps)


def mean(tokens: Tensor, keep: list[int]) -> Tensor:
    """Mean of the kept tokens, 0 of none."""
    return sum((tokens[n] for n in keep), torch.zeros_like(tokens[0])) / max(1, len(keep))


def psi(weights: Weights, options: dict[str, Any], name: str, x: Tensor) -> Tensor:
    """A tap or the guide (B, N, D) in the side width."""
    if options["order"] == "act-linear":
        return affine(weights, f"{name}.linear", x.clamp(min=0))
    return norm(weights, f"{name}.norm", options["norm"], affine(weights, f"{name}.linear", x))


def up(weights: Weights, options: dict[str, Any], x: Tensor) -> Tensor:
    """U."""
    if options["out_dim"] is None:
        return x
    x = affine(weights, "up.linear", x.clamp(min=0) if options["out_act"] else x)
    return norm(weights, "up.norm", "layer", x) if options["out_norm"] else x


def project(weights: Weights, options: dict[str, Any], x: Tensor) -> Tensor:
    """P."""
    if options["projection"] == "linear":
        return norm(weights, "projection.1", options["norm"], affine(weights, "projection.0", x))
    if options["projection"] == "mlp":
        x = affine(weights, "projection.2", affine(weights, "projection.0", x).clamp(min=0))
        return norm(weights, "projection.3", options["norm"], x)
    return x


def cross(
    weights: Weights,
    options: dict[str, Any],
    number: int,
    tap: Tensor,
    memory: Tensor,
    memory_mask: Tensor,
) -> Tensor:
    """A decoder's tap (B, N, h) that has read an encoder's side output (B, S, h)."""
    read = torch.zeros_like(tap)
    for b in range(tap.shape[0]):
        real = [s for s in range(memory.shape[1]) if memory_mask[b, s]]
        lines = [attend(tap[b, n], memory[b], real, options) for n in range(tap.shape[1])]
        read = read.index_put((torch.tensor(b),), torch.stack(lines))
    name = f"crosser.{number}"
    return tap + norm(weights, f"{name}.norm", "layer", affine(weights, f"{name}.linear", read))


def blend(
    weights: Weights,
    options: dict[str, Any],
    query: Tensor,
    about: Tensor,
    taps: list[Tensor],
    seen: list[int],
    residuals: list[Tensor] | None,
) -> Tensor:
    """F of one row's one query (h,), with the guide's mean (h,) and the row's taps (N, h)."""
    scores, found = [], []
    for i, tap in enumerate(taps):
        score = tap.new_zeros(())
        if options["confidence"] == "gate":
            score = affine(weights, "gate", (about * mean(tap, seen))[None, None])[0, 0, 0]
        scores.append(score.exp())
        term = attend(query, tap, seen, options)
        found.append(term if residuals is None else term + residuals[i])
    return sum(
        (c / sum(scores) * f for c, f in zip(scores, found, strict=True)), torch.zeros_like(query)
    )


def forward(
    weights: Weights,
    options: dict[str, Any],
    taps: list[Tensor],
    guide: Tensor,
    mask: Tensor,
    position: Tensor,
    memory: Tensor | None = None,
    memory_mask: Tensor | None = None,
) -> Tensor:
    """Y of taps (B, N, D_i) and a guide (B, N, G) or (B, G), with a mask of ones and zeros."""
    single = guide.dim() == 2
    anchor = guide[:, None] if single else guide
    query = psi(weights, options, "down_guide", anchor)
    states = [psi(weights, options, f"down.{i}", tap) for i, tap in enumerate(taps)]
    if memory is not None and memory_mask is not None:
        states = [
            cross(weights, options, i, state, memory, memory_mask) for i, state in enumerate(states)
        ]
    rows = []
    for b, row_mask in enumerate(mask.tolist()):
        real = [n for n, m in enumerate(row_mask) if m]
        row, line = [state[b] for state in states], []
        for q in range(query.shape[1]):
            seen = [n for n in real if n <= q] if options["causal"] else real
            about = query[b, 0] if single else mean(query[b], seen)
            token = {"identity": q, "index": int(position[b])}.get(options["residual"])
            residuals = None if token is None else [tap[token] for tap in row]
            line.append(blend(weights, options, query[b, q], about, row, seen, residuals))
        rows.append(torch.stack(line))
    found = project(weights, options, torch.stack(rows))
    out = up(weights, options, query + found if options["add_query"] else found)
    out = anchor + out if options["out_residual"] else out
    if options["every_tap"]:
        out = torch.stack([*(up(weights, options, state) for state in states), out])
    return out[..., 0, :] if single else out


def reduce(weights: Weights, stages: list[Tensor], number: int) -> Tensor:
    """One early stage (B, C, r H, s W) brought to the last one's grid, token by token."""
    stage, last = stages[number], stages[-1]
    height, width = last.shape[2:]
    r, s = stage.shape[2] // height, stage.shape[3] // width
    out = []
    for b in range(len(stage)):
        tokens = []
        for y in range(height):
            for x in range(width):
                query = affine(weights, f"reduce.queries.{number}", last[b, :, y, x]).clamp(min=0)
                places = [(y * r + i, x * s + j) for i in range(r) for j in range(s)]
                found = [(query * stage[b, :, i, j]).sum().clamp(min=0) for i, j in places]
                total = sum(found) + 1e-8
                tokens.append(
                    sum(
                        (f / total + 1 / (r * s)) * stage[b, :, i, j]
                        for f, (i, j) in zip(found, places, strict=True)
                    )
                )
        out.append(torch.stack(tokens))  # type: ignore[arg-type]
    return torch.stack(out)
