"""The generalized pooling operator against one that is written number by number."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.helpers import draws
from tests.test_models import vse_reference as reference
from uniadapter.models.necks import GeneralizedPooling, TokenMeanPooling


def drawn(seed: int, codes: int = 32, hidden: int = 32) -> GeneralizedPooling:
    """A pooling in float64 with drawn weights, large enough that ranks differ."""
    torch.manual_seed(seed)
    pooling = GeneralizedPooling(codes, hidden).double()
    for parameter in pooling.parameters():
        nn.init.normal_(parameter, std=0.5)
    return pooling


def test_parameters():
    """Of the published one, under its names."""
    shapes = {n: tuple(p.shape) for n, p in GeneralizedPooling().named_parameters()}
    assert shapes == {
        **{f"gru.weight_{part}_l0{way}": (96, 32) for part in ("ih", "hh") for way in ("", R)},
        **{f"gru.bias_{part}_l0{way}": (96,) for part in ("ih", "hh") for way in ("", R)},
        "linear.weight": (1, 32),
    }
    assert sum(p.numel() for p in GeneralizedPooling().parameters()) == 12_704


R = "_reverse"


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    room=st.integers(0, 2),
    width=st.integers(1, 3),
    codes=st.sampled_from([2, 4, 32]),
    hidden=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=draws(12))
def test_against_the_formulas(lengths, room, width, codes, hidden, seed):
    """Sort, codes, both directions of the GRU and padding, row by row; gradients as well."""
    pooling = drawn(seed, codes, hidden)
    weights = dict(pooling.named_parameters())
    states = torch.randn(len(lengths), max(lengths) + room, width, dtype=torch.double)
    # Ties, and padding that would win every rank.
    states = (states * 2).round() / 2
    for row, length in zip(states, lengths, strict=True):
        row[length:] = 1e6
    states.requires_grad_()
    found = pooling(states, torch.tensor(lengths))
    rows = [row[:length] for row, length in zip(states, lengths, strict=True)]
    expected = torch.stack([reference.pool(weights, row) for row in rows])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    names = [weights["linear.weight"], weights["gru.weight_hh_l0_reverse"]]
    grads = [torch.autograd.grad((y**2).sum(), names, retain_graph=True) for y in (found, expected)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)
    assert torch.equal(
        torch.autograd.grad(found.sum(), states)[0][states == 1e6].unique(),
        torch.zeros(1 if (states == 1e6).any() else 0, dtype=torch.double),
    )


@given(
    mask=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=draws(10))
def test_masks_with_gaps_are_lengths(mask, seed):
    """Where tokens stand plays no part, and what stands elsewhere none either."""
    pooling, kept = drawn(seed), torch.tensor(mask)
    states = torch.randn(len(mask), 5, 3, dtype=torch.double)
    found = pooling(states, kept)
    other = torch.where(kept[..., None], states, torch.full_like(states, -1e9))
    assert torch.equal(pooling(other, kept), found)
    front = torch.zeros_like(states)
    for row in range(len(mask)):
        front[row, : kept[row].sum()] = states[row, kept[row]].flip(0)
    torch.testing.assert_close(pooling(front, kept.sum(1)), found)
    # A row without a token is no NaN.
    assert torch.equal(
        found[kept.sum(1) == 0], torch.zeros(int((kept.sum(1) == 0).sum()), 3).double()
    )


def test_weights_sum_to_one_and_padding_moves_nothing():
    pooling = drawn(1)
    weights = pooling.rank_weights(torch.tensor([1, 4, 0, 7]), 9)
    torch.testing.assert_close(weights.sum(1), torch.tensor([1.0, 1, 0, 1]).double())
    assert torch.equal(weights[0], torch.eye(9).double()[0])
    # All alike have the mean of them all, whatever the weights.
    torch.testing.assert_close(
        pooling(torch.full((2, 5, 3), 2.5).double()), torch.full((2, 3), 2.5).double()
    )


def test_it_leaves_half_precision():
    """Under autocast, and for states of a tower in half precision, as in float32."""
    pooling = GeneralizedPooling()
    states = torch.randn(3, 6, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = pooling(states, torch.tensor([2, 6, 3]))
    assert found.dtype is torch.float32
    assert torch.equal(found, pooling(states.float(), torch.tensor([2, 6, 3])))


def test_mean():
    states = torch.randn(3, 4, 2)
    lengths = torch.tensor([4, 1, 0])
    found = TokenMeanPooling()(states, lengths)
    torch.testing.assert_close(
        found, torch.stack([states[0].mean(0), states[1, 0], torch.zeros(2)])
    )
    assert torch.equal(TokenMeanPooling()(states)[0], found[0])


def test_wrong_lengths_are_named():
    pooling, states = GeneralizedPooling(), torch.randn(2, 3, 4)
    for wrong in (torch.ones(3), torch.ones(2, 4)):
        with pytest.raises(ValueError, match=r"must be \(2,\), or a mask \(2, 3\)"):
            pooling(states, wrong)
    for wrong in (torch.tensor([4, 1]), torch.tensor([-1, 1])):
        with pytest.raises(ValueError, match="are not those of rows of 3 tokens"):
            pooling(states, wrong)
    with pytest.raises(ValueError, match="code_dim=3 must be even"):
        GeneralizedPooling(code_dim=3)
