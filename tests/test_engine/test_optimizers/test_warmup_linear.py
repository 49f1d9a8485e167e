"""Linear warm-up and linear way down, against a count of whole steps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.helpers import draws
from uniadapter.engine.optimizers import WarmupLinearLR
from uniadapter.engine.optimizers.warmup_linear import warmup_linear


@settings(max_examples=draws(25), deadline=None)
@given(
    epochs=st.integers(1, 6),
    length=st.integers(1, 20),
    warmup=st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.99]),
)
def test_schedule_step_by_step(epochs: int, length: int, warmup: float):
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    schedule = WarmupLinearLR.build_iter_from_epoch(
        optimizer, warmup=warmup, begin=0, end=epochs, by_epoch=True, epoch_length=length
    )
    total = epochs * length
    up = int(total * warmup)
    for step in range(total):
        want = step / up if step < up else (total - step) / (total - up)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * want)
        optimizer.step()
        schedule.step()


def test_its_ends():
    assert warmup_linear(0, 100, 0.1) == 0
    assert warmup_linear(10, 100, 0.1) == 1
    assert warmup_linear(99, 100, 0.1) == pytest.approx(1 / 90)
    assert warmup_linear(100, 100, 0.1) == 0
    # Fewer steps than a whole one of warm-up.
    assert warmup_linear(0, 9, 0.1) == 1


def test_it_needs_an_end():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.5)
    with pytest.raises(ValueError, match="WarmupLinearLR.*max_epochs"):
        WarmupLinearLR(optimizer)
    with pytest.raises(ValueError, match="WarmupLinearLR.*warmup"):
        WarmupLinearLR(optimizer, warmup=1.0, end=3)
