"""CLIP's modified ResNet and the grid made of it, against convolutions written as sums."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.test_models import clip_vil_reference as reference
from uniadapter.models.backbones import ClipGrid, ClipResNet

COUNTS = {"RN50": (23_508_032 + 19_232, 2048), "RN101": (42_519_392, 2048)}
COUNTS["RN50x4"] = (65_619_640, 2560)


@pytest.mark.parametrize("arch", ["RN50", "RN101", "RN50x4"])
def test_published_sizes(arch: str) -> None:
    with torch.device("meta"):
        net = ClipResNet(arch)
    count, channels = COUNTS[arch]
    assert sum(p.numel() for p in net.parameters()) == count
    assert net.out_channels == channels


def at_random(net: Any, generator: torch.Generator) -> Any:
    """The same with everything drawn, averages included."""
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif not name.endswith("num_batches_tracked"):
                drawn = torch.randn(tensor.shape, generator=generator)
                fan = tensor[0].numel() if tensor.dim() > 1 else 4
                tensor.copy_(drawn * fan**-0.5 + (tensor.dim() == 1))
    return net


@settings(max_examples=draws(4))
@given(
    depths=st.tuples(*[st.integers(1, 3)] * 4),
    width=st.sampled_from([2, 4, 6]),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_forward_is_the_reference(
    depths: tuple[int, ...], width: int, rows: int, columns: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    net = at_random(ClipResNet({"depths": depths, "width": width}), generator)
    x = torch.randn(2, 3, 32 * rows, 32 * columns, generator=generator)
    # Training mode: averages stay in force, and stay as they are.
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        found = net.train()(x)
        want = reference.resnet(x, before, "")
    assert found.shape == (2, 32 * width, rows, columns)
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def small(**options: Any) -> ClipGrid:
    return ClipGrid(arch={"depths": (1, 1, 1, 1), "width": 4}, max_side=4, **options)


def test_tokens_are_features_and_places_row_by_row() -> None:
    tower = small().eval()
    x = torch.randn(2, 3, 64, 96)
    tokens, grid = tower.tokens(x), tower.model(x)
    assert tokens.shape == (2, 6, 128)
    for row in range(2):
        for column in range(3):
            place = tower.row_embed.weight[row] + tower.column_embed.weight[column]
            torch.testing.assert_close(tokens[:, 3 * row + column], grid[:, :, row, column] + place)
    torch.testing.assert_close(tower(x)[0], tokens.mean(1))
    with pytest.raises(ValueError, match="no token that stands for an image"):
        tower.tokens(x, "first")


def test_batch_statistics_are_a_switch_of_their_own() -> None:
    """In training alone: the batch's statistics are taken, and the averages move."""
    x = torch.randn(3, 3, 64, 64)
    frozen, moving = small().requires_grad_(False), small(norm_eval=False)
    moving.load_state_dict(frozen.state_dict())
    moving.requires_grad_(False)
    before = frozen.train().tokens(x)
    assert torch.equal(frozen.eval().tokens(x), before)
    after = moving.train().tokens(x)
    assert not torch.allclose(after, before)
    assert moving.model.bn1.num_batches_tracked == 1
    assert not torch.equal(moving.model.bn1.running_mean, frozen.model.bn1.running_mean)
    moved = moving.eval().tokens(x)
    assert torch.equal(moved, moving.tokens(x))
    assert not after.requires_grad


def test_recomputed_stages_have_the_same_gradients() -> None:
    x = torch.randn(2, 3, 32, 64)
    tower = small().train()
    plain = torch.autograd.grad(tower.tokens(x).square().sum(), list(tower.parameters()))
    tower.grad_checkpointing = True
    again = torch.autograd.grad(tower.tokens(x).square().sum(), list(tower.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    with pytest.raises(ValueError, match="batch norms would count"):
        small(norm_eval=False, grad_checkpointing=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "RN18"}, r"'RN18' is unknown: choose from \['RN50'"),
        ({"arch": {"depths": (1, 1, 1)}}, "a dict with 'depths' and 'width'"),
        ({"arch": {"depths": (1, 1, 1), "width": 4}}, "blocks of four stages"),
        ({"arch": {"depths": (1, 1, 0, 1), "width": 4}}, "each at least 1"),
        ({"arch": {"depths": (1, 1, 1, 1), "width": 5}}, "an even width"),
        ({"max_side": 0}, r"visual\.max_side=0 must be"),
    ],
)
def test_options_outside_their_sets(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipGrid(**options)


def test_images_that_do_not_fit() -> None:
    tower = small()
    for size in ((2, 3, 64, 70), (2, 3, 0, 64), (2, 1, 64, 64)):
        with pytest.raises(ValueError, match="multiples of 32 is expected"):
            tower.tokens(torch.zeros(size))
    with pytest.raises(ValueError, match="grid of 1 x 5, but there are positions for 4"):
        tower.tokens(torch.zeros(1, 3, 32, 160))
