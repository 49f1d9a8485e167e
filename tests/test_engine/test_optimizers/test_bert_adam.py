from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from torch import nn

from tests.helpers import ROOT, draws
from tests.toy import ToyModel
from uniadapter.engine.optimizers import (
    BertAdam,
    TrainableOptimWrapperConstructor,
    WarmupCosineLR,
)
from uniadapter.engine.optimizers.warmup_cosine import warmup_cosine


def naive(values, gradients, rates, betas, eps, decay, limit):
    """One tensor, number by number, in double precision."""
    values = list(values)
    m, v = [0.0] * len(values), [0.0] * len(values)
    for gradient, rate in zip(gradients, rates, strict=True):
        norm = math.sqrt(sum(g * g for g in gradient))
        if limit > 0 and limit / (norm + 1e-6) < 1:
            gradient = [g * limit / (norm + 1e-6) for g in gradient]
        for i, g in enumerate(gradient):
            m[i] = betas[0] * m[i] + (1 - betas[0]) * g
            v[i] = betas[1] * v[i] + (1 - betas[1]) * g * g
            values[i] -= rate * (m[i] / (math.sqrt(v[i]) + eps) + decay * values[i])
    return values


@settings(max_examples=draws(12), deadline=None)
@given(
    seed=st.integers(0, 2**20),
    size=st.integers(1, 5),
    steps=st.integers(1, 5),
    scale=st.sampled_from([0.0, 1e-4, 1.0, 30.0]),
    decay=st.sampled_from([0.0, 0.2]),
    limit=st.sampled_from([0.0, 0.5, 1.0]),
    betas=st.sampled_from([(0.9, 0.98), (0.0, 0.5), (0.5, 0.0)]),
)
def test_it_is_the_formula(seed, size, steps, scale, decay, limit, betas):
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(2, size, generator=generator, dtype=torch.float64)
    gradients = torch.randn(steps, 2, size, generator=generator, dtype=torch.float64) * scale
    rates = torch.rand(steps, generator=generator).tolist()
    parameters = [nn.Parameter(row.clone()) for row in start]
    groups = [
        {"params": [parameters[0]], "weight_decay": decay},
        {"params": [parameters[1]], "weight_decay": 0.0},
    ]
    optimizer = BertAdam(groups, lr=1.0, betas=betas, eps=1e-6, max_grad_norm=limit)
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for row, parameter in enumerate(parameters):
            parameter.grad = gradients[step, row].clone()
        optimizer.step()
    for row, parameter in enumerate(parameters):
        own = decay if row == 0 else 0.0
        given_ = gradients[:, row].tolist()
        want = naive(start[row].tolist(), given_, rates, betas, 1e-6, own, limit)
        torch.testing.assert_close(parameter.detach(), torch.tensor(want, dtype=torch.float64))


def test_its_clip_comes_behind_the_common_one():
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    optimizer = BertAdam(parameters, lr=1.0, betas=(0.0, 0.0), weight_decay=0.0)
    wrapper = OptimWrapper(optimizer, clip_grad={"max_norm": 4.0})
    loss = (parameters[0] * torch.tensor([30.0, 40.0])).sum() + (parameters[1] * 0.01).sum()
    wrapper.update_params(loss)
    state = optimizer.state
    # 50 -> 4 together, then 4 -> 1 by itself; the other one is below 1.
    assert math.isclose(float(state[parameters[0]]["exp_avg"].norm()), 1.0, rel_tol=1e-5)
    small = float(state[parameters[1]]["exp_avg"][0])
    assert math.isclose(small, 0.01 * 4 / 50, rel_tol=1e-3)


def test_a_parameter_without_a_gradient_stays():
    parameter = nn.Parameter(torch.ones(3))
    BertAdam([parameter]).step()
    assert torch.equal(parameter.detach(), torch.ones(3))


@pytest.mark.parametrize(
    "options", [{"lr": -1}, {"betas": (1.0, 0.9)}, {"max_grad_norm": -1}, {"weight_decay": -0.1}]
)
def test_bad_options(options):
    with pytest.raises(ValueError, match="BertAdam"):
        BertAdam([nn.Parameter(torch.ones(1))], **options)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3])
def test_schedule_step_by_step(warmup):
    epochs, length = 5, 7
    parameter = nn.Parameter(torch.ones(1))
    optimizer = BertAdam([parameter], lr=1e-4)
    schedule = WarmupCosineLR.build_iter_from_epoch(
        optimizer, warmup=warmup, begin=0, end=epochs, by_epoch=True, epoch_length=length
    )
    total = epochs * length
    for step in range(total):
        x = step / total
        factor = x / warmup if x < warmup else (1 + math.cos(math.pi * x)) / 2
        assert math.isclose(optimizer.param_groups[0]["lr"], 1e-4 * factor, abs_tol=1e-18)
        optimizer.step()
        schedule.step()


def test_the_first_rate_is_zero_and_the_joint_drops():
    assert warmup_cosine(0.0, 0.1) == 0.0
    assert round(warmup_cosine(0.1, 0.1), 3) == 0.976
    assert warmup_cosine(0.0999999, 0.1) > 0.999


def test_schedule_needs_an_end():
    optimizer = BertAdam([nn.Parameter(torch.ones(1))])
    with pytest.raises(ValueError, match="max_epochs"):
        WarmupCosineLR(optimizer)
    with pytest.raises(ValueError, match="warmup"):
        WarmupCosineLR(optimizer, warmup=1.0, end=10)
    with pytest.raises(ValueError, match="epoch_length"):
        WarmupCosineLR.build_iter_from_epoch(optimizer, end=5, epoch_length=None)


def test_a_resumed_schedule_goes_on():
    def start():
        optimizer = BertAdam([nn.Parameter(torch.ones(1))], lr=1.0)
        return optimizer, WarmupCosineLR(optimizer, begin=0, end=20, by_epoch=False)

    whole, resumed = start(), start()
    for _ in range(11):
        whole[0].step()
        whole[1].step()
    resumed[0].load_state_dict(whole[0].state_dict())
    resumed[1].load_state_dict(whole[1].state_dict())
    for optimizer, schedule in (whole, resumed):
        optimizer.step()
        schedule.step()
    assert whole[0].param_groups[0]["lr"] == resumed[0].param_groups[0]["lr"]


def test_decay_can_spare_biases_alone():
    model = ToyModel()
    optimizer = {"type": "AdamW", "lr": 0.1, "weight_decay": 0.05}
    wrapper = TrainableOptimWrapperConstructor({"optimizer": optimizer}, {"no_decay_bias": True})
    groups = wrapper(model).optimizer.param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    expected = {model.head.weight: 0.05, model.head.bias: 0.0, model.temp: 0.05}
    assert decay == {id(p): value for p, value in expected.items()}
    with pytest.raises(ValueError, match="no_decay_bias"):
        TrainableOptimWrapperConstructor(
            {"optimizer": optimizer}, {"no_decay_bias": True, "no_decay_norm_bias": True}
        )


def test_the_published_settings():
    cfg = Config.fromfile(str(ROOT / "configs/unipt/clip4clip_msrvtt.py"))
    assert cfg.optim_wrapper.optimizer == {
        "type": "BertAdam",
        "lr": 1e-4,
        "betas": (0.9, 0.98),
        "eps": 1e-6,
        "weight_decay": 0.2,
        "max_grad_norm": 1.0,
    }
    assert cfg.optim_wrapper.clip_grad == {"max_norm": 1.0}
    assert cfg.optim_wrapper.paramwise_cfg == {"no_decay_bias": True}
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.warmup) == ("WarmupCosineLR", 0.1)
    assert schedule.convert_to_iter_based
    assert cfg.randomness.seed == 42
    assert cfg.model.data_preprocessor.max_text_len == 32
    assert cfg.model.data_preprocessor.pad_frames == cfg.pipeline[0].max_frames == 12
    assert (cfg.model.contrast.gradients, cfg.model.contrast.train_temperature) == ("own", False)
    assert cfg.model.contrast.eps == 1e-6
    assert cfg.train_cfg.max_epochs == 5
    assert cfg.train_dataloader.batch_size * 4 == 128
    assert cfg.train_dataloader.drop_last
    assert cfg.default_hooks.checkpoint.save_best == "t2v/R1"
    full = Config.fromfile(str(ROOT / "configs/unipt/clip4clip_msvd_full_finetune.py"))
    assert full.optim_wrapper.optimizer.lr == 1e-7
