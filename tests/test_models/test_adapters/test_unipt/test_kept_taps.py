"""The visual states of all layers on disk: the same step, without the tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.model_helpers import one_seed, outputs, same, tiny_batch
from tests.prefix_helpers import FRAMES, build, counts, entries
from uniadapter.models.fast import prefix_cache

UNIPT = {"type": "UniPT"}


def step(model: Any, autocast: bool = False) -> list[torch.Tensor]:
    """Losses and gradients of a training step."""
    model.train()
    with one_seed(3), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = model(**tiny_batch(), mode="loss")
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return [*losses.values(), *gradients]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("fast", [True, False])
def test_a_step_is_the_same_off_cold_and_warm(tmp_path: Path, autocast: bool, fast: bool):
    off = step(build(None, adapter=UNIPT, fast=fast), autocast)
    for misses in (FRAMES, 0):
        model = build(tmp_path, adapter=UNIPT, fast=fast)
        assert same(step(model, autocast), off)
        assert model.prefix_cache.misses == misses
    assert len(entries(tmp_path)) == FRAMES


def test_the_test_reads_what_training_wrote(tmp_path: Path):
    model = build(tmp_path, adapter=UNIPT)
    step(model)
    want = outputs(build(None, adapter=UNIPT).eval(), tiny_batch())
    assert counts(model.eval()) == (FRAMES, 0)
    assert same(outputs(model, tiny_batch()), want)
    # The bare model keeps the last tokens alone: other entries.
    with model.adapter_disabled():
        assert counts(model) == (0, FRAMES)
    assert len(entries(tmp_path)) == 2 * FRAMES


def test_other_weights_find_nothing(tmp_path: Path):
    step(build(tmp_path, adapter=UNIPT))
    assert counts(build(tmp_path, seed=4, adapter=UNIPT)) == (0, FRAMES)
    # What is trained does not matter.
    assert counts(build(tmp_path, adapter={**UNIPT, "reduction": 4})) == (FRAMES, 0)


def test_half_precision_rounds_both_times(tmp_path: Path):
    half = {"dtype": "float16"}
    first, second = (step(build(tmp_path, adapter=UNIPT, options=half)) for _ in range(2))
    assert same(first, second)


def test_dropout_is_never_kept(tmp_path: Path):
    model = build(tmp_path, adapter={**UNIPT, "tower_dropout": True})
    step(model)
    assert not entries(tmp_path)
    assert counts(model.eval()) == (0, FRAMES)


def test_the_size_is_said_before_the_first_entry(tmp_path: Path, monkeypatch: Any):
    said: list[tuple[str, int]] = []
    monkeypatch.setattr(
        prefix_cache, "print_log", lambda text, *_: said.append((text, len(entries(tmp_path))))
    )
    model = build(tmp_path, adapter=UNIPT)
    for _ in range(2):
        counts(model)
    ((text, written),) = said
    assert "a frame takes 0.00 MiB, (3, 5, 32) numbers of float32" in text
    assert written == 0
