"""ST-Adapter against its definition, written out patch by patch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from tests.helpers import draws
from tests.model_helpers import randomize, tiny_batch, tiny_model
from tools.analysis_tools.count_params import count_config
from uniadapter.models.adapters.st_adapter import SpaceTimeBottleneck
from uniadapter.models.sites import Grid

CONFIG = "configs/st_adapter/didemo_r512.py"


def written_out(unit, x, grid, activation):
    """Sums over the kernel's taps, one patch of one frame after another."""
    out = torch.zeros_like(x)
    taps = [size // 2 for size in unit.conv.kernel_size]
    place = lambda row, column: grid.first + row * grid.width + column  # noqa: E731
    for image in range(len(x)):
        start, frame = image - image % grid.frames, image % grid.frames
        for row in range(grid.height):
            for column in range(grid.width):
                total = unit.conv.bias.clone()
                for t in range(-taps[0], taps[0] + 1):
                    for h in range(-taps[1], taps[1] + 1):
                        for w in range(-taps[2], taps[2] + 1):
                            at = (frame + t, row + h, column + w)
                            size = (grid.frames, grid.height, grid.width)
                            if not all(0 <= a < s for a, s in zip(at, size, strict=True)):
                                continue
                            patch = x[start + at[0], place(at[1], at[2])]
                            hidden = unit.fc1.weight @ patch + unit.fc1.bias
                            kernel = unit.conv.weight[:, 0, t + taps[0], h + taps[1], w + taps[2]]
                            total = total + kernel * hidden
                term = unit.fc2.weight @ activation(total) + unit.fc2.bias
                out[image, place(row, column)] = term
    return out


@settings(max_examples=draws(6))
@given(
    videos=st.integers(1, 2),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)),
    first=st.integers(0, 2),
    kernel=st.sampled_from([(3, 1, 1), (3, 3, 3), (1, 1, 1), (5, 1, 3)]),
    act=st.sampled_from(["none", "gelu"]),
)
def test_a_unit_is_its_definition(videos, size, first, kernel, act):
    grid = Grid(*size, first=first)
    unit = SpaceTimeBottleneck(5, 3, kernel, act)
    x = torch.randn(videos * grid.frames, first + grid.height * grid.width, 5)
    with torch.no_grad():
        assert not unit(x, grid=grid).any()
        for parameter in unit.parameters():
            torch.nn.init.normal_(parameter)
        want = written_out(unit, x, grid, F.gelu if act == "gelu" else lambda h: h)
        assert_close(unit(x, grid=grid), want, atol=1e-4, rtol=1e-4)


def test_frames_of_a_video_meet_and_videos_do_not():
    model = randomize(tiny_model(adapter={"type": "STAdapter", "bottleneck": 4})).eval()
    pixels = tiny_batch(frames=3)["pixels"]
    with torch.no_grad():
        tokens = model.encode_frames(pixels)
        pixels[0, 2] = 0
        other = model.encode_frames(pixels)
    assert torch.equal(tokens[1:], other[1:])
    assert not torch.allclose(tokens[0, 1], other[0, 1], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "adapter", "parallel"),
    [
        ({}, 24 * 789_760, 18_905_088),
        ({"sites": ["mid"]}, 28_382_208 - 18_905_088, 18_905_088),
        ({"kernel": [3, 3, 3]}, 38_154_240 - 18_905_088, 18_905_088),
        ({"bottleneck": 768, "sites": ["mid"]}, 42_559_488 - 24 * 1_181_184, 24 * 1_181_184),
    ],
)
def test_counts_say_what_each_part_adds(options, adapter, parallel):
    counts = count_config(CONFIG, {f"model.adapter.{key}": v for key, v in options.items()})
    assert (counts["adapter"], counts["parallel"]) == (adapter, parallel)


def test_the_closest_reading_is_the_default():
    counts = count_config(CONFIG)
    assert counts["adapter"] + counts["parallel"] == 37_859_328


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sites": ["ffn"]}, "adapter.sites='ffn' is unknown"),
        ({"sites": ["mid", "mid"]}, "name one or two, each once"),
        ({"kernel": [2, 1, 1]}, r"adapter.kernel=\[2, 1, 1\] must be three odd numbers"),
        ({"activation": "tanh"}, "adapter.activation='tanh' is unknown"),
        ({"bottleneck": 0}, "adapter.bottleneck=0 must be an int >= 1"),
    ],
)
def test_wrong_options_name_the_key(options, match):
    with pytest.raises(ValueError, match=match):
        tiny_model(adapter={"type": "STAdapter", **options})


def test_half_precision_writes_every_gradient():
    """Whatever the memory held before, which is not a number here."""
    unit, grid = SpaceTimeBottleneck(8, 4, (3, 1, 1), "none"), Grid(2, 2, 2)
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.normal_(std=0.3)
    kinds = (torch.float32, torch.bfloat16)
    for _ in range(30):
        unit.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = unit(torch.randn(4, 5, 8), grid)
        held = [torch.full((n,), float("nan"), dtype=k) for n in range(1, 300) for k in kinds]
        del held
        out.float().pow(2).sum().backward()
        assert unit.conv.weight.grad.isfinite().all()
