"""Cross-attention that doesn't project the states gives what projecting them gives."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.nn import functional as F
from torch.testing import assert_close

from uniadapter.models.backbones.bert import BertModel
from uniadapter.models.backbones.bert.attention import CrossAttention
from uniadapter.models.execution import Factor, PaddedRows, PairMemory
from uniadapter.models.fast import FastExecution, FastPaths
from uniadapter.models.fast.memory import AbsorbedMemory, SharedMemory
from uniadapter.registry import MODELS

PAIRS, LENGTH, STATES, WIDTH, HIDDEN, HEADS = 3, 2, 40, 24, 16, 4


def attention(dropout: float = 0.0) -> CrossAttention:
    torch.manual_seed(0)
    module = CrossAttention(HIDDEN, HEADS, WIDTH, dropout).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module


def inputs(paired: bool = False, masked: bool = False) -> tuple[torch.Tensor, dict]:
    """Queries, and the arguments of a memory."""
    torch.manual_seed(1)
    x = torch.randn(PAIRS, LENGTH, HIDDEN, dtype=torch.double, requires_grad=True)
    states = torch.randn(PAIRS, STATES, WIDTH, dtype=torch.double, requires_grad=True)
    pair = torch.randn(2, WIDTH, HIDDEN, dtype=torch.double).requires_grad_()
    return x, {
        "states": states,
        "mask": torch.rand(PAIRS, STATES) > 0.3 if masked else None,
        "term": (lambda seen: (seen @ pair[0], seen @ pair[1])) if paired else None,
    }


def gradients(out: torch.Tensor, module: CrossAttention, x: torch.Tensor, read: dict):
    wanted = {"x": x, "states": read["states"], **dict(module.named_parameters())}
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out)
    found = torch.autograd.grad(out, list(wanted.values()), direction, allow_unused=True)
    return dict(zip(wanted, found, strict=True))


def taken(memory: AbsorbedMemory, module: CrossAttention, x: torch.Tensor) -> bool:
    return memory.shorter(module, *PaddedRows().shape(x))


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("paired", [False, True], ids=["plain", "kv pair"])
def test_it_equals_projected_keys_and_values(paired, masked):
    module = attention()
    x, read = inputs(paired, masked)
    plain, absorbed = PairMemory(**read), AbsorbedMemory(**read)
    assert taken(absorbed, module, x)
    want, got = (module(x, 0, PaddedRows(), memory) for memory in (plain, absorbed))
    assert_close(got, want, atol=1e-10, rtol=1e-10)
    want_gradients = gradients(want, module, x, read)
    for name, gradient in gradients(got, module, x, read).items():
        assert_close(gradient, want_gradients[name], atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.parametrize("paired", [False, True], ids=["plain", "kv pair"])
def test_dropout_falls_on_the_probabilities(paired, monkeypatch):
    module = attention(0.5).train()
    x, read = inputs(paired)
    keep = (torch.rand(PAIRS, HEADS, LENGTH, STATES) > 0.5).double() * 2
    monkeypatch.setattr(F, "dropout", lambda probs, rate: probs * keep if rate == 0.5 else None)
    got = module(x, 0, PaddedRows(), AbsorbedMemory(**read))
    key, value = PairMemory(**read).projected(module, 0)
    query = module.heads(module.query(x))
    probs = (query @ key.transpose(-1, -2) / (HIDDEN // HEADS) ** 0.5).softmax(-1) * keep
    assert_close(got, (probs @ value).transpose(1, 2).flatten(2), atol=1e-10, rtol=1e-10)


def test_it_is_taken_only_where_it_is_possible_and_shorter():
    module = attention()
    x, read = inputs()
    assert taken(AbsorbedMemory(**read), module, x)
    assert not taken(AbsorbedMemory(**read, owner=torch.arange(PAIRS)), module, x)
    assert not taken(AbsorbedMemory(**read), module, x[:1])
    factor = Factor(torch.ones(PAIRS, STATES), False)
    assert not taken(AbsorbedMemory(**read, factor=factor), module, x)
    # What is kept is projected.
    assert not isinstance(AbsorbedMemory(**read).kept(), AbsorbedMemory)
    for name in ("key", "value"):
        wrapped = inject_adapter_in_model(LoraConfig(r=2, target_modules=[name]), attention())
        assert not taken(AbsorbedMemory(**read), wrapped, x)
    # Multiplications a column: L (W + S W / head size) against S (W + L).
    breakeven = STATES * WIDTH / (WIDTH + STATES * WIDTH / (HIDDEN / HEADS) - STATES)
    for length in (int(breakeven), int(breakeven) + 1):
        long = x[:, :1].expand(-1, length, -1)
        assert taken(AbsorbedMemory(**read), module, long) == (length < breakeven)


@pytest.mark.parametrize("on_states", [False, True])
def test_a_replaced_projection_is_weighed_as_the_plain_way_weighs_it(on_states):
    """Such as peft's LoRA, which has more than a weight and a bias."""
    config = LoraConfig(r=2, target_modules=["key", "value"], init_lora_weights=False)
    module = inject_adapter_in_model(config, attention()).double().eval()
    x, read = inputs(paired=True)
    factor = Factor(torch.rand(PAIRS, STATES, dtype=torch.double), on_states)
    want, got = (
        module(x, 0, PaddedRows(), kind(**read, factor=factor))
        for kind in (PairMemory, SharedMemory)
    )
    assert_close(got, want, atol=1e-10, rtol=1e-10)


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
    project = SharedMemory._project
    monkeypatch.setattr(
        SharedMemory, "_project", lambda self, *a: calls.append(1) or project(self, *a)
    )
    for absorb in (False, True):
        calls.clear()
        tower.execution = FastExecution(FastPaths(absorb_kv=absorb))
        out = tower(ids, (ids > 0).long(), tower.memory(states))
        assert bool(calls) != absorb
        results.append((out, *torch.autograd.grad(out.square().sum(), states)))
    assert_close(results[1], results[0], atol=1e-5, rtol=1e-4)
