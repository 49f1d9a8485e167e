"""On every device at hand fast paths compute what the plain way does on the CPU.

Without a GPU the tests run on the CPU alone; where there is one, run
``pytest tests/test_models/test_devices.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.helpers import draws
from tests.test_models.test_execution import (
    ADAPTERS,
    LENGTHS,
    PFA,
    SWITCHES,
    assert_alike,
    drawn_batch,
    gradients,
    question_model,
    retrieval,
)
from uniadapter.models.heads import decoder_loss

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def on(device: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=draws(3))
@given(
    st.sampled_from(ADAPTERS),
    st.sampled_from(PFA),
    SWITCHES,
    LENGTHS,
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_a_step_of_retrieval(
    device: str,
    adapter: Any,
    pfa: Any,
    fast: Any,
    lengths: list[int],
    frames: int,
    seed: int,
) -> None:
    batch = drawn_batch(lengths, frames, seed)
    plain = retrieval(False, adapter, pfa).train()
    want = gradients(plain(**batch, mode="loss"), plain)
    model = retrieval(fast, adapter, pfa).to(device).train()
    got = gradients(model(**on(device, batch), mode="loss"), model)
    assert {tensor.device.type for tensor in got.values()} == {device}
    assert_alike(on("cpu", got), want)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=draws(3))
@given(st.sampled_from(PFA), SWITCHES, LENGTHS, st.integers(1, 3), st.integers(0, 99))
@torch.no_grad()
def test_scores_of_re_ranking(
    device: str, pfa: Any, fast: Any, lengths: list[int], frames: int, seed: int
) -> None:
    batch = drawn_batch(lengths, frames, seed)
    scores = []
    for place, switches in (("cpu", False), (device, fast)):
        model = retrieval(switches, ADAPTERS[1], pfa).to(place).eval()
        own = on(place, batch)
        texts = own["input_ids"], own["attention_mask"]
        tokens, _, frame_features = model.encode_visual(own["pixels"])
        states, features = model.encode_text(*texts)
        sims = model.frame_sims(tokens[:, :, 0], frame_features, states[:, 0], features)
        chosen = torch.arange(len(lengths), device=place)
        medium = None if sims is None else sims[chosen, 0]
        scores.append(model.scorer(*texts, chunk=2).score(tokens[0], chosen, medium))
    assert scores[1].device.type == device
    assert_close(scores[1].cpu(), scores[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=draws(3))
@given(SWITCHES, LENGTHS, st.integers(1, 3), st.integers(0, 99))
def test_questions(device: str, fast: Any, lengths: list[int], frames: int, seed: int) -> None:
    batch = drawn_batch(lengths, frames, seed)
    replies = drawn_batch([length + 1 for length in lengths], 1, seed + 1)
    found = []
    for place, switches in (("cpu", False), (device, fast)):
        model = question_model(switches, ADAPTERS[1]).to(place)
        own, words = on(place, batch), on(place, replies)
        ids, mask = own["input_ids"], own["attention_mask"]
        said, seen = words["input_ids"], words["attention_mask"]
        states = model.encode_question(own["pixels"], ids, mask)
        memory = model.role("decoder").memory(states, mask)
        labels = said.masked_fill(seen == 0, -100)
        loss = decoder_loss(model.decoder, (said, seen, labels), memory, 0.1, "sum").sum()
        found.append(on("cpu", gradients({"loss": loss}, model)))
    assert_alike(found[1], found[0])


@pytest.mark.parametrize("device", DEVICES)
def test_half_precision_is_finite_and_near(device: str) -> None:
    batch = on(device, drawn_batch([3, 5, 2], 2, 0))
    losses = []
    for dtype in (None, torch.bfloat16):
        model = retrieval(True, ADAPTERS[1], PFA[1]).to(device).train()
        with torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None):
            total = sum(model(**batch, mode="loss").values())
        total.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        losses.append(float(total))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
