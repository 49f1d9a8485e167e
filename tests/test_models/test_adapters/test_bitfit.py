"""BitFit: its differences to the biases are trained as the biases themselves would be."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.model_helpers import outputs, randomize, tiny_batch, tiny_model
from tools.analysis_tools.count_params import count_config
from uniadapter.models.adapters import BitFit
from uniadapter.models.sites import Places

CFG = {"type": "BitFit"}


def test_blip_has_251136_biases():
    """8,448 a block of either tower, 3,840 a cross-attention, and the norms outside of blocks."""
    counts = count_config("configs/bitfit/didemo.py")
    vit, text, cross = 12 * 8_448 + 1_536, 12 * 8_448 + 768, 12 * 3_840
    assert counts["adapter"] == vit + text + cross == 251_136


def test_gradients_and_results_are_those_of_trained_biases():
    ours, batch = randomize(tiny_model(adapter=CFG)).train(), tiny_batch()
    theirs = tiny_model(adapter=None, train_backbone=True).train()
    shifts = {n.replace("/", "."): p for n, p in ours.adapter.shifts.named_parameters()}
    frozen = dict(ours.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(frozen[name] + shifts.get(name, 0))
    theirs.contrast.restart(theirs)
    ours.contrast.restart(ours)
    losses = []
    for model in (ours, theirs):
        torch.manual_seed(3)
        loss = sum(model(**batch, mode="loss").values())
        loss.backward()
        losses.append(loss.detach())
    assert_close(*losses)
    want = {n: p.grad for n, p in theirs.named_parameters() if n in shifts}
    assert set(want) == set(shifts)
    for name, gradient in want.items():
        scale = gradient.abs().max().clamp(min=1e-3)
        assert_close(shifts[name].grad / scale, gradient / scale, atol=1e-4, rtol=0, msg=name)
    for one, other in zip(*(outputs(m.eval(), batch) for m in (ours, theirs)), strict=True):
        assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_every_bias_of_a_tower_is_there():
    model = tiny_model(adapter=CFG)
    want = {
        f"{tower}/{name}".replace(".", "/")
        for tower in ("visual", "text")
        for name, _ in getattr(model, tower).named_parameters()
        if name.endswith("bias")
    }
    assert set(dict(model.adapter.shifts.named_parameters())) == want


def test_towers_without_a_bias_are_refused():
    with pytest.raises(ValueError, match="BitFit trains biases, of which these towers have none"):
        BitFit(Places(towers={"visual": nn.Linear(2, 2, bias=False)}))
