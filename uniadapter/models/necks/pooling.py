"""Pooling: of frames into a video, of tokens into an embedding."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from uniadapter.registry import MODELS

# The scores of ranks are divided by it before their softmax.
_TEMPERATURE = 0.1
# A score that no softmax sees; finite, so that a row without any token is no NaN.
_NOWHERE = -10000.0


@MODELS.register_module()
class MeanPooling(nn.Module):
    """The mean over frames.

    Attributes:
        of_features (bool): Whether a task hands over the frames' features, rather than the states
            that they are projected from.
    """

    of_features = False

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Pool the states of N frames each, (B, N, D), into (B, D)."""
        return states.mean(1)


def rank_codes(count: int, width: int) -> torch.Tensor:
    """Sinusoidal codes (count, width) of ranks from 0: sines even, cosines odd, base 10000."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(count)[:, None] * rates
    codes = torch.zeros(count, width)
    codes[:, 0::2], codes[:, 1::2] = angles.sin(), angles.cos()
    return codes


def real_tokens(states: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Which tokens of (B, N, D) are real, (B, N) bool.

    Args:
        states (Tensor): (B, N, D).
        lengths (Tensor, optional): (B,) numbers of real tokens, which stand in front; or (B, N), 1
            or True where a token is real, wherever it stands. None: all are.

    Raises:
        ValueError: If they are of another shape, or a length is not in 0..N.
    """
    rows, count = states.shape[:2]
    if lengths is None:
        return torch.ones(rows, count, dtype=torch.bool, device=states.device)
    if lengths.shape == (rows, count):
        return lengths.bool()
    if lengths.shape != (rows,):
        raise ValueError(
            f"Lengths of {rows} rows of {count} tokens must be ({rows},), or a mask "
            f"{(rows, count)}; got {tuple(lengths.shape)}."
        )
    if rows and not 0 <= int(lengths.min()) <= int(lengths.max()) <= count:
        raise ValueError(f"Lengths {lengths.tolist()} are not those of rows of {count} tokens.")
    return torch.arange(count, device=states.device) < lengths[:, None].to(states.device)


@MODELS.register_module()
class TokenMeanPooling(nn.Module):
    """The mean of the real tokens; 0 of a row without any."""

    def forward(self, states: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Pool (B, N, D) into (B, D); see :func:`real_tokens` for ``lengths``."""
        real = real_tokens(states, lengths)[..., None]
        total = states.masked_fill(~real, 0).sum(1)
        return total / real.sum(1).clamp(min=1)


@MODELS.register_module()
class GeneralizedPooling(nn.Module):
    """Generalized pooling operator (GPO) of VSE-infinity (CVPR 2021, arXiv 2011.04305).

    Each channel is sorted over the real tokens, largest first, and the ranks are summed with
    learned weights: mean, maximum and all between them, by what a recurrent network makes of the
    codes of as many ranks as there are tokens. With n real tokens::

        w = softmax(linear(mean of directions(GRU(codes of ranks 0..n-1))) / 0.1)
        pooled[c] = sum_k w[k] * (k-th largest of channel c)

    The weights depend on n alone, so that rows of one length share them. Where tokens stand plays
    no part. It is computed in float32 at least, whatever autocast says.

    Args:
        code_dim (int): Width of the codes. Defaults to 32.
        hidden_dim (int): Width of each direction of the GRU. Defaults to 32.

    Raises:
        ValueError: If ``code_dim`` is odd, or a width is not positive.
    """

    def __init__(self, code_dim: int = 32, hidden_dim: int = 32) -> None:
        super().__init__()
        if code_dim < 2 or code_dim % 2 or hidden_dim < 1:
            raise ValueError(
                f"{code_dim=} must be even, a sine and a cosine each, and {hidden_dim=} positive."
            )
        self.code_dim = code_dim
        self.gru = nn.GRU(code_dim, hidden_dim, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(hidden_dim, 1, bias=False)

    def rank_weights(self, lengths: torch.Tensor, count: int) -> torch.Tensor:
        """Weights of the ranks of rows.

        Args:
            lengths (Tensor): (B,) long, real tokens of each row.
            count (int): N, the largest that one could be.

        Returns:
            Tensor: (B, N), 0 beyond the length; the sum is 1 where there is a token.
        """
        # As many runs as there are different lengths; 0 has no ranks, and runs as 1.
        different, row = lengths.clamp(min=1).unique(return_inverse=True)
        weight = self.linear.weight
        codes = rank_codes(count, self.code_dim).to(weight).expand(len(different), -1, -1)
        packed = pack_padded_sequence(codes, different.cpu(), True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], True, total_length=count)
        states = states.unflatten(-1, (2, -1)).mean(2)
        ranks = torch.arange(count, device=weight.device)
        beyond = ranks >= different[:, None]
        scores = self.linear(states)[..., 0].masked_fill(beyond, _NOWHERE)
        found = (scores / _TEMPERATURE).softmax(-1)[row]
        return found.masked_fill(ranks >= lengths[:, None], 0)

    def forward(self, states: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Pool tokens.

        Args:
            states (Tensor): (B, N, D).
            lengths (Tensor, optional): (B,) numbers of real tokens, which stand in front; or a mask
                (B, N), 1 where a token is real. What stands elsewhere plays no part. None: all are
                real.

        Returns:
            Tensor: (B, D), at least float32; 0 of a row without a token.

        Raises:
            ValueError: If lengths do not fit the states.
        """
        real = real_tokens(states, lengths)
        with torch.autocast(states.device.type, enabled=False):
            states = states.to(self.linear.weight.dtype)
            if not states.numel():
                return states.sum(1)
            numbers = real.sum(1)
            weights = self.rank_weights(numbers, states.shape[1])
            ranked = states.masked_fill(~real[..., None], -torch.inf).sort(1, descending=True)[0]
            beyond = torch.arange(states.shape[1], device=states.device) >= numbers[:, None]
            ranked = ranked.masked_fill(beyond[..., None], 0)
            return (weights[:, None] @ ranked)[:, 0]
