"""The published side networks: their parameters, and the convolution network's branch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.helpers import draws
from tests.test_models.test_adapters.test_unipt import reference
from uniadapter.models.adapters.unipt import PRESETS, StageReduction, side_net
from uniadapter.registry import MODELS

# As the authors' modules count, and what their formulas give at other sizes.
COUNTS: list[tuple[str, dict[str, Any], int]] = [
    ("clip4clip_image", {}, 5_644_289),
    ("clip4clip_text", {}, 3_940_353),
    ("clip4clip_image", {"side_dim": 256}, 2_822_401),
    ("clip4clip_text", {"side_dim": 256}, 1_970_433),
    ("vse_text", {}, 5_921_281),
    ("vse_image", {}, 6_433_537),
    ("clip_vil", {}, 4_736_641),
    ("clip_vil", {"side_dim": 192}, 2_369_089),
    ("mdetr_encoder", {}, 198_913),
    ("mdetr_decoder", {}, 282_753),
    # On BLIP: a projection of 256 features.
    (
        "clip4clip_image",
        {"in_dims": [768] * 13, "guide_dim": 256, "side_dim": 256, "out_dim": 256},
        2_691_073,
    ),
]


@pytest.mark.parametrize(("preset", "changes", "count"), COUNTS)
def test_counts(preset: str, changes: dict[str, Any], count: int):
    with torch.device("meta"):
        net = side_net(preset, **changes)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_t5_fits_its_share():
    """Six taps a side of 192: the published 1.36 % of T5-base's 222,903,552 parameters."""
    sizes: dict[str, Any] = {"in_dims": [768] * 6, "guide_dim": 768, "side_dim": 192}
    with torch.device("meta"):
        sides = [
            side_net("mdetr_encoder", **sizes),
            side_net("mdetr_decoder", **sizes, out_dim=768),
        ]
    count = sum(p.numel() for side in sides for p in side.parameters())
    assert count == 3_039_746
    assert round(100 * count / 222_903_552, 2) == 1.36


@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_is_used(preset: str):
    small = {"in_dims": [5] * 2, "guide_dim": 6, "side_dim": 4}
    out_dim = PRESETS[preset].get("out_dim") and 6
    net = MODELS.build({"type": "UniPTSide", "preset": preset, **small, "out_dim": out_dim})
    taps = [torch.randn(2, 3, 5) for _ in range(2)]
    call: dict[str, Any] = {}
    if preset == "vse_image":
        taps = [torch.randn(2, 5, 4, 4), torch.randn(2, 5, 2, 4), torch.randn(2, 6, 2, 2)]
    elif preset.startswith("clip4clip"):
        call["guide"] = torch.randn(2, 6)
    elif preset == "mdetr_decoder":
        call.update(guide=torch.randn(2, 3, 6), memory=torch.randn(2, 5, 4))
    else:
        taps.append(torch.randn(2, 3, 6))
    out = net(taps, **call)
    tokens = 4 if preset == "vse_image" else 3
    shape = {"clip4clip_image": (2, 6), "clip4clip_text": (2, 6), "mdetr_decoder": (3, 2, 3, 6)}
    assert out.shape == shape.get(preset, (2, tokens, out_dim or 4))
    out.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_starts():
    net = side_net("clip_vil", in_dims=[64], guide_dim=64, side_dim=64, out_dim=64)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            assert parameter.abs().max() == 0
        elif "norm" in name or name == "projection.3.weight":
            assert (parameter == 1).all()
        elif name != "gate.weight":
            assert 0.015 < parameter.std().item() < 0.025
    net = side_net("mdetr_encoder", in_dims=[30], guide_dim=20, side_dim=10)
    assert net.gate.weight.abs().max() <= (6 / 11) ** 0.5
    assert net.down[0].linear.weight.abs().max() <= (6 / 40) ** 0.5
    assert net.down[0].linear.weight.abs().max() > (1 / 30) ** 0.5


SIZES = st.tuples(*[st.integers(1, 3)] * 8)


@given(SIZES, st.integers(0, 2**31))
@settings(max_examples=draws(10))
def test_reduction(sizes: tuple[int, ...], seed: int):
    """Each patch against its formula, whatever the rates of rows and columns; gradients as well."""
    batch, height, width, r, s, channels, other, last = sizes
    torch.manual_seed(seed)
    reduction = StageReduction([channels, other], last).double()
    stages = [
        torch.randn(batch, channels, height * r, width * s),
        torch.randn(batch, other, height * s, width * r),
        torch.randn(batch, last, height, width),
    ]
    stages = [stage.double() for stage in stages]
    weights = {f"reduce.{name}": value for name, value in reduction.named_parameters()}
    found = reduction(stages)
    torch.testing.assert_close(found[2], stages[2].flatten(2).transpose(1, 2))
    for number in range(2):
        expected = reference.reduce(weights, stages, number)
        torch.testing.assert_close(found[number], expected)
        name = f"reduce.queries.{number}.weight"
        grads = [
            torch.autograd.grad(y.square().sum(), weights[name])[0]
            for y in (found[number], expected)
        ]
        torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-9)


def test_reduction_in_a_network_is_that_of_maps():
    """The branch with convolutions, batch norms and pooling of maps, in training and evaluation."""
    torch.manual_seed(0)
    net = side_net("vse_image", in_dims=[3, 4], guide_dim=5, side_dim=6, out_dim=7).double()
    stages = [torch.randn(2, 3, 8, 12), torch.randn(2, 4, 4, 6), torch.randn(2, 5, 2, 3)]
    stages = [stage.double() for stage in stages]
    norms = [nn.BatchNorm2d(6).double() for _ in range(4)]

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        layer = net.get_submodule(name)
        return F.conv2d(x, layer.weight[..., None, None], layer.bias)

    def branch() -> torch.Tensor:
        reduced = []
        for k, stage in enumerate(stages[:2]):
            rate = stage.shape[2] // 2
            query = F.relu(conv(f"reduce.queries.{k}", stages[2]))
            query = F.interpolate(query, scale_factor=rate, mode="nearest")
            found = F.relu((query * stage).sum(1, keepdim=True))
            patch = F.avg_pool2d(found, rate, divisor_override=1)
            found = found / (F.interpolate(patch, scale_factor=rate, mode="nearest") + 1e-8)
            found = (found + 1 / rate**2) * stage
            reduced.append(F.avg_pool2d(found, rate, divisor_override=1))
        names = ["down.0.linear", "down.1.linear", "down_guide.linear"]
        taps = [
            norm(conv(name, x)).flatten(2).transpose(1, 2)
            for norm, name, x in zip(norms, names, [*reduced, stages[2]], strict=False)
        ]
        guide = taps.pop()
        scores = [(guide.mean(1) * tap.mean(1)) @ net.gate.weight[0] for tap in taps]
        shares = torch.stack(scores, -1).softmax(-1)
        mixed = 0
        for tap, share in zip(taps, shares.unbind(-1), strict=True):
            found = F.relu(guide @ tap.mT)
            term = found / (found.sum(-1, keepdim=True) + 1e-8) @ tap + tap
            mixed = mixed + share[:, None, None] * term
        mixed = mixed.transpose(1, 2).unflatten(2, (2, 3))
        guide = guide.transpose(1, 2).unflatten(2, (2, 3))
        out = conv("up.linear", F.relu(guide + norms[3](conv("projection.0", mixed))))
        return out.flatten(2).transpose(1, 2)

    for training in (True, False):
        net.train(training)
        for norm in norms:
            norm.train(training)
        torch.testing.assert_close(net(stages), branch())
    torch.testing.assert_close(net.down[0].norm.running_var, norms[0].running_var)


def test_sizes_that_do_not_divide():
    reduction = StageReduction([3], 4)
    with pytest.raises(ValueError, match="Stage 1 is 7 x 4, no multiple of the last one's 2 x 2"):
        reduction([torch.randn(1, 3, 7, 4), torch.randn(1, 4, 2, 2)])
    with pytest.raises(ValueError, match=r"Stage 2 is \(1, 4, 4\), not \(B, C, H, W\)"):
        reduction([torch.randn(1, 3, 4, 4), torch.randn(1, 4, 4)])
