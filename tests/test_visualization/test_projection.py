from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.visualization.projection import (
    _gradient,
    affinities,
    divergence,
    neighbours,
    pca,
    tsne,
)


@settings(max_examples=draws(10))
@given(st.integers(3, 30), st.integers(1, 12), st.integers(0, 10**6))
def test_components_are_those_of_the_covariance(count: int, width: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, width, generator=generator).double() * 3 + 5
    flat, shares = pca(points)
    assert flat.shape == (count, 2)
    values = torch.linalg.eigvalsh(torch.cov(points.t()).reshape(width, width)).flip(0)
    wanted = torch.nn.functional.pad(values, (0, 2))[:2]
    assert torch.allclose(flat.var(0), wanted, atol=1e-8)
    assert torch.allclose(shares, wanted / values.sum(), atol=1e-8)
    assert torch.equal(flat, pca(points)[0])


@settings(max_examples=draws(8))
@given(st.integers(8, 40), st.floats(1.5, 12), st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_every_point_has_as_many_neighbours_as_asked(
    count: int, perplexity: float, seed: int, scale: float
):
    perplexity = min(perplexity, (count - 1) / 3)
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 5, generator=generator).double() * scale
    p = affinities(points, perplexity)
    assert p.sum() == pytest.approx(1)
    assert torch.equal(p, p.t())
    assert (p.diagonal() == 0).all()
    # By the definition: Gaussians whose width gives that entropy, found on a fine grid.
    squared = torch.cdist(points, points).square()
    wanted = torch.zeros_like(p)
    for i in range(count):
        others = [j for j in range(count) if j != i]
        low, high = 1e-12, 1e12
        for _ in range(80):
            beta = math.sqrt(low * high)
            row = torch.softmax(-squared[i, others] * beta, 0)
            entropy = -(row * row.clamp_min(1e-300).log()).sum()
            low, high = (beta, high) if entropy > math.log(perplexity) else (low, beta)
        wanted[i, others] = row
    assert torch.allclose(p, (wanted + wanted.t()) / (2 * count), atol=1e-6)


@settings(max_examples=draws(8))
@given(st.integers(3, 20), st.integers(0, 10**6))
def test_the_gradient_is_that_of_the_divergence(count: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(count, count, generator=generator).double()
    p = (p + p.t()).fill_diagonal_(0)
    p = p / p.sum()
    y = torch.randn(count, 2, generator=generator).double().requires_grad_()
    divergence(p, y).backward()
    assert torch.allclose(_gradient(p, y.detach()), y.grad, atol=1e-8)


def test_clusters_stay_together():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 20, generator=generator) * 8
    labels = torch.arange(60) % 3
    points = centres[labels] + torch.randn(60, 20, generator=generator)
    flat = tsne(points, 10)
    apart = torch.cdist(flat, flat).fill_diagonal_(math.inf)
    assert (labels[apart.argmin(1)] == labels).all()
    own = labels[:, None] == labels
    p = affinities(points.double(), 10)
    assert divergence(p, flat) < divergence(p, pca(points)[0])
    assert apart[own & apart.isfinite()].max() < apart[~own].min()


def test_equal_points_are_projected():
    assert torch.isfinite(tsne(torch.ones(12, 4), steps=60)).all()
    assert torch.isfinite(pca(torch.ones(12, 4))[0]).all()


def test_bad_points_are_refused():
    for project in (pca, tsne):
        with pytest.raises(ValueError, match="three points"):
            project(torch.ones(2, 4))
        with pytest.raises(ValueError, match="NaN"):
            project(torch.full((5, 4), torch.nan))
    with pytest.raises(ValueError, match=r"perplexity=30 of 10 points must be in 1\.\.3"):
        tsne(torch.rand(10, 3), 30)
    assert neighbours(torch.rand(10, 3), None) == 3
    assert neighbours(torch.rand(400, 3), None) == 30
