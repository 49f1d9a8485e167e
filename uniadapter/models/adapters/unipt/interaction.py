"""How a side network compares its guide with a tap, and how much it trusts each tap.

UniPT (arXiv 2308.14316), the parallel interaction and the confidence aggregation as the authors'
code has them. B rows, N tokens of a tap, Q tokens of the guide, h the side width. Everything here
runs in float32 at least, whatever autocast says: a sum over some hundred unscaled dot products
leaves the range of float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F


class Guard(NamedTuple):
    """What keeps a row without any similarity from a division by 0.

    Attributes:
        eps (float): The least sum of a row.
        clamp (bool): ``max(sum, eps)`` rather than ``sum + eps``.
    """

    eps: float
    clamp: bool

    def __call__(self, total: torch.Tensor) -> torch.Tensor:
        """Guard row sums, of any shape."""
        return total.clamp(min=self.eps) if self.clamp else total + self.eps


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """A half-precision tensor as float32, any other as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def similarities(
    query: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None, causal: bool = False
) -> torch.Tensor:
    """Rectified dot products of one head, neither scaled nor put through a softmax.

    Args:
        query (Tensor): Guide (B, Q, h).
        keys (Tensor): Tap (B, N, h).
        mask (Tensor, optional): (B, N), 1 where a key is real. Rows of padded queries are computed
            as well.
        causal (bool): Keys behind the query's own position count as padding. Needs Q = N. Defaults
            to False.

    Returns:
        Tensor: (B, Q, N), 0 at padded keys.
    """
    found = query @ keys.transpose(1, 2)
    if mask is not None:
        found = found * mask[:, None].to(found.dtype)
    return F.relu(found.tril() if causal else found)


def pool(tokens: torch.Tensor, mask: torch.Tensor | None, causal: bool = False) -> torch.Tensor:
    """The mean of the real tokens, (B, 1, h), or that of those up to each token, (B, N, h).

    A row (or, in the causal form, a beginning) without a real token has the mean 0.

    Args:
        tokens (Tensor): (B, N, h).
        mask (Tensor, optional): (B, N), 1 where a token is real.
        causal (bool): Defaults to False.
    """
    if mask is None:
        real = tokens.new_ones(tokens.shape[0], tokens.shape[1], 1)
    else:
        real = mask[..., None].to(tokens.dtype)
    if causal:
        return (tokens * real).cumsum(1) / real.cumsum(1).clamp(min=1)
    return (tokens * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)


def confidence(
    query: torch.Tensor,
    taps: Sequence[torch.Tensor],
    mask: torch.Tensor | None,
    gate: nn.Linear | None,
    causal: bool = False,
) -> torch.Tensor:
    """How much each tap counts: one weight a row and tap, and a position in the causal form.

    Args:
        query (Tensor): Guide (B, Q, h); a single token, or N tokens that ``mask`` is that of.
        taps (Sequence[Tensor]): n taps (B, N, h).
        mask (Tensor, optional): (B, N), 1 where a token is real.
        gate (nn.Linear, optional): h -> 1, shared by the taps. Its bias has no influence (and no
            gradient): the softmax over taps takes it out. None: all taps count alike.
        causal (bool): Defaults to False.

    Returns:
        Tensor: (B, 1, n), or (B, N, n) in the causal form; sums to 1 over the taps.
    """
    if gate is None:
        return query.new_full((query.shape[0], 1, len(taps)), 1 / len(taps))
    weight, bias = wide(gate.weight), wide(gate.bias)
    # The one token of a single query is its own mean, whatever the mask of the taps.
    anchor = query if query.shape[1] == 1 and not causal else pool(query, mask, causal)
    scores = [F.linear(anchor * pool(tap, mask, causal), weight, bias) for tap in taps]
    return torch.cat(scores, -1).softmax(-1)


def mix(
    query: torch.Tensor,
    taps: Sequence[torch.Tensor],
    mask: torch.Tensor | None,
    shares: torch.Tensor,
    residuals: Sequence[torch.Tensor | None],
    guard: Guard,
    causal: bool = False,
) -> torch.Tensor:
    r"""What the guide finds in the taps: ``F = sum_i c_i (A_i / |A_i|_1 T_i + R_i)``.

    The sum runs: no stack of the taps' terms is ever held, and a tap's share is multiplied into its
    similarities, so that the backward pass keeps no (B, Q, h) of each tap.

    Args:
        query (Tensor): Guide (B, Q, h).
        taps (Sequence[Tensor]): n taps (B, N, h), keys and values in one.
        mask (Tensor, optional): (B, N), 1 where a key is real.
        shares (Tensor): From :func:`confidence`.
        residuals (Sequence[Tensor]): R_i, of a shape that broadcasts to (B, Q, h); None for none.
        guard (Guard): Of the rows' sums.
        causal (bool): Defaults to False.

    Returns:
        Tensor: (B, Q, h).
    """
    mixed = torch.zeros_like(query)
    for tap, residual, share in zip(taps, residuals, shares.split(1, -1), strict=True):
        found = similarities(query, tap, mask, causal)
        mixed = mixed + (found * (share / guard(found.sum(-1, keepdim=True)))) @ tap
        if residual is not None:
            mixed = mixed + share * residual
    return mixed
