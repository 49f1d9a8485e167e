"""Linear warm-up and linear way down, against a count of whole steps."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from torch import nn

from tests.helpers import ROOT, draws
from tests.toy import ToyModel
from uniadapter.engine.optimizers import OptimWrapper, WarmupLinearLR
from uniadapter.engine.optimizers.warmup_linear import warmup_linear
from uniadapter.registry import PARAM_SCHEDULERS


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


def published(updates: int, share: Fraction) -> list[Fraction]:
    """Factors of all updates: up from 0 in a share of them, then down to 0 behind the last one."""
    rising = [n for n in range(updates) if n + 1 <= updates * share]
    up = [Fraction(n, len(rising)) for n in rising]
    falling = updates - len(rising)
    return up + [Fraction(falling - n, falling) for n in range(falling)]


@settings(max_examples=draws(15), deadline=None)
@given(
    length=st.integers(1, 30),
    epochs=st.integers(1, 6),
    each=st.integers(1, 8),
    percent=st.sampled_from([0, 5, 10, 50]),
)
def test_accumulated_iterations_are_one_step(length: int, epochs: int, each: int, percent: int):
    parameter = nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.5), accumulative_counts=each)
    total = length * epochs
    wrapper.initialize_count_status(nn.Identity(), 0, total)
    schedule = WarmupLinearLR.build_iter_from_epoch(
        wrapper, warmup=percent / 100, end=epochs, epoch_length=length
    )
    rates = []
    for _ in range(total):
        wrapper.update_params(parameter.sum())
        # It has counted this iteration.
        if wrapper.should_update():
            rates.append(wrapper.param_groups[0]["lr"])
        schedule.step()
    wanted = published(max(1, total // each), Fraction(percent, 100))
    # What is left over at the end is updated as well, behind the last rate.
    wanted += [Fraction(0)] * (len(rates) - len(wanted))
    assert rates == pytest.approx([0.5 * float(factor) for factor in wanted], abs=1e-12)


@pytest.mark.parametrize("name", ["clip_vil_vqav2", "clip_vil_gqa"])
def test_the_published_settings(name: str):
    """444 updates of 1,024 an epoch: the rate is there after 111, a twentieth of all."""
    cfg = Config.fromfile(str(ROOT / f"configs/unipt/{name}.py"))
    assert cfg.optim_wrapper.accumulative_counts == 8
    model, length = ToyModel(), 8 * 444
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0), accumulative_counts=8)
    (schedule,) = cfg.param_scheduler
    end = cfg.train_cfg.max_epochs
    built = PARAM_SCHEDULERS.build(
        {**schedule, "end": end}, default_args={"optimizer": wrapper, "epoch_length": length}
    )
    for update, factor in (
        (0, 0.0),
        (1, 1 / 111),
        (111, 1.0),
        (112, 2108 / 2109),
        (2219, 1 / 2109),
    ):
        built.last_step = 8 * update + 7
        assert built._get_value() == pytest.approx([factor])
