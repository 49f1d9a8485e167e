"""Kinds of projections against their formulas written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from tests.helpers import draws
from uniadapter.models.adapters.projections import (
    PHM,
    LowRankProjection,
    PHMRule,
    init_linear,
    parse_projection,
)

small = st.integers(1, 4)


def spread(module: nn.Module, seed: int) -> nn.Module:
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn))
    return module


@settings(max_examples=draws(25))
@given(small, small, small, st.none() | st.integers(1, 3), st.booleans(), st.integers(0, 99))
def test_phm_is_a_sum_of_kronecker_products(k, rows, columns, rank, shared, seed):
    rule = spread(PHMRule(k), seed + 1) if shared else None
    phm = spread(PHM(k * rows, k * columns, k, rank, rule), seed)
    a = (phm.rule if rule is None else rule).A
    slices = phm.W if rank is None else [phm.L[i] @ phm.R[i] for i in range(k)]
    weight = sum(torch.kron(a[i], slices[i]) for i in range(k))
    x = torch.randn(2, 3, k * rows, generator=torch.Generator().manual_seed(seed))
    assert_close(phm(x), x @ weight + phm.b, atol=1e-4, rtol=1e-4)
    count = k * rows * columns if rank is None else k * rank * (rows + columns)
    own = 0 if shared else k**3
    assert sum(p.numel() for p in phm.parameters()) == own + count + k * columns


@settings(max_examples=draws(10))
@given(small, small, small, st.integers(0, 99))
def test_low_rank_is_a_product_of_two(rows, columns, rank, seed):
    module = spread(LowRankProjection(rows, columns, rank), seed)
    x = torch.randn(3, rows, generator=torch.Generator().manual_seed(seed))
    assert_close(module(x), x @ (module.L @ module.R) + module.b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "sizes", "bounds"),
    [
        (PHM, (768, 96, 2), {"W": (384, 48)}),
        (PHM, (768, 96, 4, 1), {"L": (192, 1), "R": (1, 24)}),
        (LowRankProjection, (768, 96, 1), {"L": (768, 1), "R": (1, 96)}),
    ],
)
def test_factors_start_uniform_within_xaviers_bound_of_a_slice(kind, sizes, bounds):
    torch.manual_seed(0)
    module = kind(*sizes)
    for name, fans in bounds.items():
        values, bound = getattr(module, name).detach(), math.sqrt(2 * 6 / sum(fans))
        assert values.abs().max() <= bound
        # Of so many draws one comes close to the bound, and their spread is a uniform one's.
        assert values.abs().max() > 0.7 * bound
        assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.35)
    assert not module.b.any()


def test_rules_start_normal_with_a_small_spread():
    torch.manual_seed(0)
    rule = PHMRule(16).A.detach()
    assert rule.shape == (16, 16, 16)
    assert float(rule.std()) == pytest.approx(0.01, rel=0.1)


def test_linear_projections_start_as_their_option_says():
    def made(init: str, side: str) -> nn.Linear:
        torch.manual_seed(0)
        linear = nn.Linear(96, 768)
        init_linear(linear, init, side)
        return linear

    torch.manual_seed(0)
    default = nn.Linear(96, 768)
    assert torch.equal(made("torch", "up").weight, default.weight)
    assert torch.equal(made("torch", "up").bias, default.bias)
    normal = made("normal", "down")
    assert float(normal.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert float(normal.weight.detach().abs().max()) > 0.05
    xavier = made("xavier", "up").weight
    assert float(xavier.detach().abs().max()) == pytest.approx(math.sqrt(12 / (96 + 768)), rel=0.01)
    assert not made("zero_up", "up").weight.any()
    assert made("zero_up", "down").weight.any()
    for init in ("normal", "xavier", "zero_up"):
        assert not made(init, "up").bias.any()


def test_up_projections_can_start_at_zero_whatever_their_kind():
    for module in (PHM(8, 4, 2), PHM(8, 4, 2, 2), LowRankProjection(8, 4, 2)):
        module.reset("zero_up", "up")
        assert not module(torch.randn(3, 8)).any()
        module.reset("zero_up", "down")
        assert module(torch.randn(3, 8)).any()


def test_configs_are_completed():
    assert parse_projection("linear")[1] == {"type": "linear"}
    whole = {"type": "phm", "k": 2, "rank": None, "rule": "own"}
    assert parse_projection("phm")[1] == whole == parse_projection({"type": "phm"})[1]
    assert parse_projection({"type": "low_rank", "rank": 3})[1] == {"type": "low_rank", "rank": 3}


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ("conv", "adapter.projection.type='conv' is unknown"),
        ({"k": 2}, "or a dict with such a `type`"),
        (None, "or a dict with such a `type`"),
        ({"type": "phm", "rnak": 1}, r"unknown option\(s\) \['rnak'\].*\['k', 'rank', 'rule'\]"),
        ({"type": "phm", "k": 0}, "adapter.projection.k=0"),
        ({"type": "phm", "rule": "all"}, "adapter.projection.rule='all'"),
        ({"type": "phm", "rank": 0}, "adapter.projection.rank=0"),
        ({"type": "low_rank", "rank": 0}, "adapter.projection.rank=0"),
    ],
)
def test_configs_that_say_nothing_are_refused(config, match):
    with pytest.raises(ValueError, match=match):
        parse_projection(config)


def test_widths_that_k_does_not_divide_are_refused():
    with pytest.raises(ValueError, match="k=4 must divide the widths 16 and 6"):
        PHM(16, 6, 4)
