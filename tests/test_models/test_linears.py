"""Matrices and vectors of towers as places, on inputs drawn at random."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from tests.helpers import draws
from uniadapter.models.linears import LinearSite, Shifts, adapted, is_norm


def linear(inside=5, out=6, bias=True):
    return nn.Linear(inside, out, bias=bias)


@settings(max_examples=draws(15))
@given(st.data())
def test_each_use_gets_its_rows_and_the_others_stay(data):
    """Three rows of two, some of them filled in any order, against the parts put together."""
    module, x = linear(), torch.randn(2, 3, 5)
    plain = module(x)
    chosen = data.draw(st.permutations([0, 1, 2]))[: data.draw(st.integers(0, 3))]
    parts = list(plain.split(2, -1))
    for index in chosen:
        factor = float(index + 2)
        site = LinearSite(module, (2 * index, 2 * index + 2))
        site.fill(lambda x, out, factor=factor: out * factor + x.sum(-1, keepdim=True))
        parts[index] = parts[index] * factor + x.sum(-1, keepdim=True)
    assert torch.equal(module(x), torch.cat(parts, -1))
    assert adapted(nn.Sequential(module)) == bool(chosen)
    for index in data.draw(st.permutations(chosen)):
        LinearSite(module, (2 * index, 2 * index + 2)).clear()
    assert type(module) is nn.Linear
    assert not adapted(module)
    assert torch.equal(module(x), plain)


def test_two_runs_of_a_module_share_a_place():
    module = linear()
    one, other, third = LinearSite(module), LinearSite(module), LinearSite(module, (0, 2))
    assert one == other
    assert len({one, other, third}) == 2
    one.fill(lambda x, out: out + 1)
    assert other.filled
    other.enabled = False
    assert not one.enabled
    with pytest.raises(ValueError, match="filled already"):
        other.fill(lambda x, out: out)
    with pytest.raises(ValueError, match="filled already"):
        third.fill(lambda x, out: out)
    x = torch.randn(2, 5)
    assert torch.equal(module(x), nn.functional.linear(x, module.weight, module.bias))


@settings(max_examples=draws(10))
@given(bias=st.booleans(), fused=st.booleans())
def test_what_is_folded_does_the_same(bias, fused):
    module = linear(bias=bias)
    site = LinearSite(module, (2, 4) if fused else None)
    factor, matrix = torch.rand(site.out_features), torch.randn(site.out_features, 5)
    site.fill(lambda x, out: out * factor + x @ matrix.T)
    x = torch.randn(7, 5)
    weight, found = site.folded()
    want = module(x)[..., 2:4] if fused else module(x)
    assert_close(nn.functional.linear(x, weight, found), want, atol=1e-6, rtol=1e-5)


def test_what_can_not_be_folded_is_said():
    site = LinearSite(linear(bias=False))
    site.fill(lambda x, out: out + 1)
    with pytest.raises(ValueError, match="adds a constant to a matrix without a bias"):
        site.folded()
    half = LinearSite(linear().bfloat16())
    half.fill(lambda x, out: out)
    with pytest.raises(ValueError, match=r"A matrix of torch.bfloat16 can't take"):
        half.folded()


def towers():
    norm = nn.LayerNorm(4)
    return {"one": nn.Sequential(nn.Linear(4, 4), norm), "two": nn.Sequential(norm, nn.ReLU())}


@settings(max_examples=draws(10))
@given(st.sets(st.sampled_from(["weight", "bias"]), min_size=1), st.booleans())
def test_shifts_are_differences_to_parameters(names, norms):
    found, x = towers(), torch.randn(3, 4)
    state = {key: module.state_dict() for key, module in found.items()}
    plain = found["one"](x)
    wanted = is_norm if norms else lambda module: True
    shifts = Shifts(found, sorted(names), wanted)
    assert torch.equal(found["one"](x), plain)
    # A module of two towers is shifted once; files of the towers stay what they are.
    assert len(list(shifts.parameters())) == len(names) * (1 if norms else 2)
    for key, module in found.items():
        assert state[key].keys() == module.state_dict().keys()
    for parameter in shifts.parameters():
        nn.init.normal_(parameter)
    want = towers()
    with torch.no_grad():
        for name, shift in shifts.named_parameters():
            _, place, kind = name.split("/")
            frozen = found["one"][int(place)]._parameters[kind]
            getattr(want["one"][int(place)], kind).copy_(frozen + shift)
        for place in (0, 1):
            for kind in ("weight", "bias"):
                if f"one/{place}/{kind}" not in dict(shifts.named_parameters()):
                    frozen = found["one"][place]._parameters[kind]
                    getattr(want["one"][place], kind).copy_(frozen)
    assert_close(found["one"](x), want["one"](x))
    shifts.enabled = False
    assert torch.equal(found["one"](x), plain)


def test_copies_of_shifted_towers_are_apart():
    both = nn.ModuleDict(towers())
    both["shifts"] = Shifts({"one": both["one"]}, ["bias"])
    clone = copy.deepcopy(both)
    nn.init.ones_(next(clone["shifts"].parameters()))
    x = torch.randn(2, 4)
    assert not torch.equal(clone["one"](x), both["one"](x))
    clone["shifts"].enabled = False
    assert torch.equal(clone["one"](x), both["one"](x))
