"""Many dimensions on a plane: principal components, and t-SNE as its paper defines it.

t-SNE is exact (van der Maaten and Hinton 2008, sections 2 and 3): every point attracts and repels
every other one, which suits the hundreds of points of a figure.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _checked(points: Tensor) -> Tensor:
    if points.dim() != 2 or len(points) < 3:
        raise ValueError(f"At least three points (P, D) are projected, got {tuple(points.shape)}.")
    if not torch.isfinite(points).all():
        raise ValueError("The points to be projected hold inf or NaN: the model has diverged.")
    return points.double()


def pca(points: Tensor, dims: int = 2) -> tuple[Tensor, Tensor]:
    """The first principal components.

    Args:
        points (Tensor): (P, D).
        dims (int): Components wanted, at most D and P. Defaults to 2.

    Returns:
        tuple: Coordinates (P, dims), double, and the components' shares of the variance (dims,).
        A component's sign is that of its entry of largest size.

    Raises:
        ValueError: If there are fewer than three points, or one is not finite.
    """
    points = _checked(points)
    centred = points - points.mean(0)
    u, s, v = torch.linalg.svd(centred, full_matrices=False)
    # A component and its opposite are the same one: the same data give the same figure.
    largest = v.abs().argmax(1, keepdim=True)
    sign = torch.where(v.gather(1, largest) < 0, -1.0, 1.0)[:, 0]
    total = (s**2).sum()
    shares = s**2 / total if total > 0 else torch.zeros_like(s)
    found = u * s * sign
    missing = max(0, dims - found.shape[1])
    pad = torch.nn.functional.pad
    return pad(found, (0, missing))[:, :dims], pad(shares, (0, missing))[:dims]


def affinities(points: Tensor, perplexity: float) -> Tensor:
    """Joint probabilities P of t-SNE: every point has ``perplexity`` neighbours, softly counted.

    Args:
        points (Tensor): (P, D).
        perplexity (float): 2 to the entropy in bits of the neighbours of each point.

    Returns:
        Tensor: (P, P), symmetric, 0 on the diagonal, its sum 1.
    """
    squared = torch.cdist(points, points).square()
    squared.fill_diagonal_(math.inf)
    # The nearest neighbour counts as 1 before the division, so that no row is all zeros.
    squared = squared - squared.min(1, keepdim=True).values
    target = math.log(perplexity)
    beta, low = torch.ones(len(points), 1).double(), torch.zeros(len(points), 1).double()
    high = torch.full_like(low, math.inf)
    for _ in range(100):
        weights = torch.exp(-squared * beta)
        sums = weights.sum(1, keepdim=True)
        mean = (weights * squared.nan_to_num(posinf=0.0)).sum(1, keepdim=True) / sums
        wide = sums.log() + beta * mean > target
        low, high = torch.where(wide, beta, low), torch.where(wide, high, beta)
        beta = torch.where(high.isinf(), beta * 2, (low + high) / 2)
    conditional = torch.exp(-squared * beta)
    conditional = conditional / conditional.sum(1, keepdim=True)
    return (conditional + conditional.t()) / (2 * len(points))


def neighbours(points: Tensor, perplexity: float | None) -> float:
    """The perplexity of so many points: the one that is given, or at most 30.

    Raises:
        ValueError: If the given one is below 1, or too large for the number of points.
    """
    most = (len(points) - 1) / 3
    if perplexity is None:
        return max(1.0, min(30.0, most))
    if not 1 <= perplexity <= max(1.0, most):
        raise ValueError(
            f"perplexity={perplexity} of {len(points)} points must be in 1..{max(1.0, most):.3g}: "
            "a third of the other points at most."
        )
    return float(perplexity)


def divergence(p: Tensor, y: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the plane's affinities from P, which t-SNE makes small."""
    q = 1 / (1 + torch.cdist(y, y).square())
    q = q * (1 - torch.eye(len(y), dtype=y.dtype))
    q = (q / q.sum()).clamp_min(1e-300)
    return (p * (p.clamp_min(1e-300).log() - q.log())).sum()


def _gradient(p: Tensor, y: Tensor) -> Tensor:
    """Gradient of :func:`divergence`, the paper's eq. 5."""
    near = 1 / (1 + torch.cdist(y, y).square())
    near.fill_diagonal_(0)
    pull = (p - near / near.sum()) * near
    return 4 * (pull.sum(1, keepdim=True) * y - pull @ y)


def tsne(points: Tensor, perplexity: float | None = None, steps: int = 750) -> Tensor:
    """Points on a plane, on which neighbours are neighbours.

    It starts from the principal components, so that the same points give the same figure.

    Args:
        points (Tensor): (P, D).
        perplexity (float, optional): See :func:`affinities`. Defaults to None: 30, or less where
            there are fewer than 91 points.
        steps (int): Steps of gradient descent with momentum, the first third with affinities 12
            times as large. Defaults to 750.

    Returns:
        Tensor: (P, 2), double, centred.

    Raises:
        ValueError: If there are fewer than three points, one is not finite, or the perplexity does
            not fit their number.
    """
    points = _checked(points)
    p = affinities(points, neighbours(points, perplexity))
    y, _ = pca(points)
    y = y / y[:, 0].std().clamp_min(1e-12) * 1e-4
    speed, gains = torch.zeros_like(y), torch.ones_like(y)
    rate, early = max(len(points) / 48, 50.0), steps // 3
    for step in range(steps):
        slope = _gradient(p * (12 if step < early else 1), y)
        turned = (slope > 0) == (speed > 0)
        gains = torch.where(turned, gains * 0.8, gains + 0.2).clamp_min(0.01)
        speed = (0.5 if step < early else 0.8) * speed - rate * gains * slope
        y = y + speed
        y = y - y.mean(0)
    return y
