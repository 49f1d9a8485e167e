"""Cross-attention that doesn't project the states gives what projecting them gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.nn import functional as F
from torch.testing import assert_close

from uniadapter.models.backbones.bert import BertModel, CrossInput
from uniadapter.models.backbones.bert.attention import CrossAttention
from uniadapter.registry import MODELS

PAIRS, LENGTH, STATES, WIDTH, HIDDEN, HEADS = 3, 2, 40, 24, 16, 4


def attention(dropout: float = 0.0) -> CrossAttention:
    torch.manual_seed(0)
    module = CrossAttention(HIDDEN, HEADS, WIDTH, dropout).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module


def inputs(paired: bool = False, masked: bool = False) -> tuple[torch.Tensor, CrossInput]:
    torch.manual_seed(1)
    x = torch.randn(PAIRS, LENGTH, HIDDEN, dtype=torch.double, requires_grad=True)
    states = torch.randn(PAIRS, STATES, WIDTH, dtype=torch.double, requires_grad=True)
    key, value = torch.randn(2, PAIRS, STATES, HIDDEN, dtype=torch.double).requires_grad_()
    zero = torch.zeros(1, 1, HIDDEN, dtype=torch.double)
    return x, CrossInput(
        states=states,
        delta=(key, value) if paired else None,
        delta_zero=(zero, zero) if paired else None,
        mask=torch.rand(PAIRS, STATES) > 0.3 if masked else None,
        absorb=True,
    )


def gradients(out: torch.Tensor, module: CrossAttention, x: torch.Tensor, cross: CrossInput):
    wanted = {"x": x, "states": cross.states, **dict(module.named_parameters())}
    if cross.delta is not None:
        wanted |= {"delta key": cross.delta[0], "delta value": cross.delta[1]}
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out)
    found = torch.autograd.grad(out, list(wanted.values()), direction, allow_unused=True)
    return dict(zip(wanted, found, strict=True))


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("paired", [False, True], ids=["plain", "kv pair"])
def test_it_equals_projected_keys_and_values(paired, masked):
    module = attention()
    x, cross = inputs(paired, masked)
    want = module(x, module.project(cross.states, cross.delta, cross.delta_zero), cross)
    got = module.absorbed(x, cross.states, cross)
    assert_close(got, want, atol=1e-10, rtol=1e-10)
    want_gradients = gradients(want, module, x, cross)
    for name, gradient in gradients(got, module, x, cross).items():
        assert_close(gradient, want_gradients[name], atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.parametrize("paired", [False, True], ids=["plain", "kv pair"])
def test_dropout_falls_on_the_probabilities(paired, monkeypatch):
    module = attention(0.5).train()
    x, cross = inputs(paired)
    keep = (torch.rand(PAIRS, HEADS, LENGTH, STATES) > 0.5).double() * 2
    monkeypatch.setattr(F, "dropout", lambda probs, rate: probs * keep if rate == 0.5 else None)
    got = module.absorbed(x, cross.states, cross)
    kv = module.project(cross.states, cross.delta, cross.delta_zero)
    query = module.heads(module.query(x))
    probs = (query @ kv.key.transpose(-1, -2) / (HIDDEN // HEADS) ** 0.5).softmax(-1) * keep
    assert_close(got, (probs @ kv.value).transpose(1, 2).flatten(2), atol=1e-10, rtol=1e-10)


def test_it_is_taken_only_where_it_is_possible_and_shorter():
    module = attention()
    x, cross = inputs()
    assert module.absorbs(x, cross)
    assert not module.absorbs(x, replace(cross, absorb=False))
    assert not module.absorbs(x, replace(cross, owner=torch.arange(PAIRS)))
    assert not module.absorbs(x, replace(cross, states=None))
    assert not module.absorbs(x[:1], cross)
    assert not module.absorbs(x, replace(cross, weights=torch.ones(PAIRS, STATES)))
    for name in ("key", "value"):
        wrapped = inject_adapter_in_model(LoraConfig(r=2, target_modules=[name]), attention())
        assert not wrapped.absorbs(x, cross)
    # Multiplications a column: L (W + S W / head size) against S (W + L).
    breakeven = STATES * WIDTH / (WIDTH + STATES * WIDTH / (HIDDEN / HEADS) - STATES)
    for length in (int(breakeven), int(breakeven) + 1):
        long = x[:, :1].expand(-1, length, -1)
        assert module.absorbs(long, cross) == (length < breakeven)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_tower_reads_without_projecting(checkpointing, monkeypatch):
    config = {"type": "BertModel", "vocab_size": 20, "hidden_size": 16, "num_layers": 2}
    config |= {"num_heads": 4, "intermediate_size": 16, "encoder_width": 16}
    torch.manual_seed(0)
    tower: BertModel = MODELS.build(
        {**config, "dropout": 0.0, "attention_dropout": 0.0, "grad_checkpointing": checkpointing}
    ).train()
    states = torch.randn(2, 50, 16, requires_grad=True)
    ids = torch.tensor([[1, 2, 3], [4, 5, 0]])
    results, calls = [], []
    project = CrossAttention.project
    monkeypatch.setattr(
        CrossAttention, "project", lambda self, *a: calls.append(1) or project(self, *a)
    )
    for absorb in (False, True):
        calls.clear()
        out, _ = tower(ids, (ids > 0).long(), tower.read(states, absorb=absorb))
        assert bool(calls) != absorb
        results.append((out, *torch.autograd.grad(out.square().sum(), states)))
    assert_close(results[1], results[0], atol=1e-5, rtol=1e-4)
