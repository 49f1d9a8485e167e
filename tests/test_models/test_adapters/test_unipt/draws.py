"""Side networks of all options and inputs of all shapes, drawn."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from uniadapter.models.adapters.unipt import SideNet

# order, norm, projection
_NORMED = [
    ("linear-norm", norm, projection)
    for norm in ("layer", "batch")
    for projection in ("none", "linear", "mlp")
]
_FORMS = [
    *_NORMED,
    ("act-linear", "none", "none"),
    ("act-linear", "layer", "linear"),
    ("act-linear", "layer", "mlp"),
]
# guide, residual, whether the guide is one vector a row
_GUIDES = [
    ("last", "identity", False),
    ("last", "none", False),
    ("outside", "identity", False),
    ("outside", "none", False),
    ("outside", "none", True),
    ("outside", "index", True),
]


@st.composite
def side_options(draw: st.DrawFn) -> tuple[dict[str, Any], bool]:
    """Options that go together, and whether the guide is one vector a row."""
    order, norm, projection = draw(st.sampled_from(_FORMS))
    guide, residual, single = draw(st.sampled_from(_GUIDES))
    dims = st.integers(1, 5)
    options: dict[str, Any] = {
        "in_dims": draw(st.lists(dims, min_size=1, max_size=3)),
        "guide_dim": draw(dims),
        "side_dim": draw(st.integers(2, 5)),
        "out_dim": draw(st.none() | dims),
        "order": order,
        "norm": norm,
        "projection": projection,
        "guide": guide,
        "residual": residual,
        "add_query": draw(st.booleans()),
        "confidence": draw(st.sampled_from(["gate", "uniform"])),
        "eps": draw(st.sampled_from([1e-6, 1e-8, 0.3])),
        "eps_mode": draw(st.sampled_from(["add", "clamp"])),
        "causal": not single and norm != "batch" and draw(st.booleans()),
        "crosser": draw(st.booleans()),
        "out_act": False,
        "out_norm": False,
        "out_residual": False,
        "every_tap": False,
    }
    if options["out_dim"] is not None:
        for name in ("out_act", "out_norm"):
            options[name] = draw(st.booleans())
        last = draw(st.sampled_from(["", "out_residual", "every_tap"]))
        if last == "out_residual":
            options.update(out_residual=True, out_dim=options["guide_dim"])
        elif last == "every_tap" and not single:
            options["every_tap"] = True
    return options, single


def build(options: dict[str, Any], seed: int) -> SideNet:
    """A side network in float64 whose every parameter is drawn."""
    torch.manual_seed(seed)
    net = SideNet(**options).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    return net


def inputs(options: dict[str, Any], single: bool, seed: int) -> dict[str, Any]:
    """Inputs of drawn sizes: masks with gaps, empty rows and padding beyond the longest."""
    drawn = torch.Generator().manual_seed(seed)

    def size(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=drawn))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=drawn, dtype=torch.float64)

    batch, length, states = size(1, 3), size(1, 5), size(1, 4)
    if options["norm"] == "batch":
        # Statistics of a single token are those of nothing.
        batch += 1
    found: dict[str, Any] = {
        "taps": [normal(batch, length, width) for width in options["in_dims"]],
        "guide": normal(batch, options["guide_dim"])
        if single
        else normal(batch, length, options["guide_dim"]),
        "mask": (torch.rand(batch, length, generator=drawn) < 0.7).long(),
        "position": torch.randint(length, (batch,), generator=drawn),
    }
    if options["norm"] == "batch":
        found["mask"] = torch.ones(batch, length)
    if options["crosser"]:
        found["memory"] = normal(batch, states, options["side_dim"])
        found["memory_mask"] = (torch.rand(batch, states, generator=drawn) < 0.7).long()
    return found


def run(net: SideNet, options: dict[str, Any], given: dict[str, Any]) -> Tensor:
    """What the network makes of :func:`inputs`."""
    call = dict(given)
    if options["norm"] == "batch":
        call["mask"] = None
    if options["guide"] == "last":
        call["taps"] = [*call["taps"], call.pop("guide")]
    return net(**call)
