"""States of an optimizer go with their parameters, wherever the modules stand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmengine.optim import OptimWrapper
from torch import nn

from uniadapter.engine.runner.optimizer_state import match_optimizer, optimizer_names

SHAPES = {"a": (3, 3), "b": (3, 3), "c": (3,), "d": (3,), "e": (2, 3), "f": (3, 3)}


class Net(nn.Module):
    """Parameters of a few equal shapes, registered in the given order."""

    def __init__(self, order: list[str], values: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name in order:
            self.register_parameter(name, nn.Parameter(values[name].clone()))


def wrapper(net: Net, split: bool, **options: Any) -> OptimWrapper:
    """AdamW over the net; ``split`` puts vectors in a group of their own."""
    parameters = list(net.parameters())
    groups = [{"params": parameters}]
    if split:
        groups = [
            {"params": [p for p in parameters if p.dim() == 2]},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ]
    return OptimWrapper(torch.optim.AdamW(groups, lr=0.1, **options))


def step(net: Net, optim: OptimWrapper, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    gradients = {name: torch.randn(SHAPES[name], generator=generator) for name in sorted(SHAPES)}
    for name, parameter in net.named_parameters():
        parameter.grad = gradients[name]
    optim.step()


def matched(
    optim: OptimWrapper,
    net: Net,
    saved: dict,
    names: Any,
    order: list[str],
    obsolete: frozenset[str] = frozenset(),
) -> None:
    tensors = {name: torch.zeros(SHAPES[name]) for name in order}
    states = match_optimizer(saved, names, optim, net, tensors, obsolete, "file.pth")
    optim.load_state_dict(states)


@settings(max_examples=20, deadline=None)
@given(
    before=st.permutations(sorted(SHAPES)),
    after=st.permutations(sorted(SHAPES)),
    split=st.booleans(),
    named=st.booleans(),
)
def test_moved_modules_keep_their_states(before, after, split, named):
    torch.manual_seed(0)
    old = Net(before, {name: torch.randn(shape) for name, shape in SHAPES.items()})
    optim = wrapper(old, split)
    step(old, optim, 1)
    saved, names = copy.deepcopy(optim.state_dict()), optimizer_names(optim, old)
    new = Net(after, dict(old.named_parameters()))
    resumed = wrapper(new, split)
    # A file without names has its tensors in the order of the model that wrote it.
    matched(resumed, new, saved, names if named else None, list(old.state_dict()))
    step(old, optim, 2)
    step(new, resumed, 2)
    for name, parameter in old.named_parameters():
        assert torch.equal(parameter, new.get_parameter(name)), name


def example(split: bool = False) -> tuple[Net, OptimWrapper, dict, Any]:
    net = Net(sorted(SHAPES), {name: torch.zeros(shape) for name, shape in SHAPES.items()})
    optim = wrapper(net, split)
    step(net, optim, 1)
    return net, optim, copy.deepcopy(optim.state_dict()), optimizer_names(optim, net)


def each_alone(net: Net) -> OptimWrapper:
    """AdamW with one group a parameter."""
    return OptimWrapper(torch.optim.AdamW([{"params": [p]} for p in net.parameters()], lr=0.1))


@settings(max_examples=20, deadline=None)
@given(
    before=st.permutations(sorted(SHAPES)),
    gone=st.sets(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=2),
    kind=st.sampled_from(["one", "split", "alone"]),
    named=st.booleans(),
)
def test_states_of_obsolete_parameters_are_left_out(before, gone, kind, named):
    make = {
        "one": lambda net: wrapper(net, False),
        "split": lambda net: wrapper(net, True),
        "alone": each_alone,
    }[kind]
    assume(kind != "split" or not gone >= {"c", "d"})
    old = Net(before, {name: torch.ones(shape) for name, shape in SHAPES.items()})
    optim = make(old)
    step(old, optim, 1)
    saved, names = copy.deepcopy(optim.state_dict()), optimizer_names(optim, old)
    new = Net([name for name in before if name not in gone], dict(old.named_parameters()))
    resumed = make(new)
    matched(resumed, new, saved, names if named else None, before, frozenset(gone))
    step(old, optim, 2)
    step(new, resumed, 2)
    for name, parameter in new.named_parameters():
        assert torch.equal(parameter, old.get_parameter(name)), name


def test_other_parameters_are_named():
    net, optim, saved, names = example()
    names[0][2] = "gone"
    with pytest.raises(
        ValueError,
        match=r"file\.pth does not fit .*\n  missing .*: c\n  not .*: gone",
    ):
        matched(optim, net, saved, names, list(SHAPES))


def test_other_groups_are_refused():
    net, _, saved, names = example(split=True)
    with pytest.raises(ValueError, match="paramwise_cfg"):
        matched(wrapper(net, split=False), net, saved, names, list(SHAPES))


def test_shapes_are_checked_where_there_are_no_names():
    net, optim, saved, _ = example()
    with pytest.raises(ValueError, match=r"exp_avg of . in the shape \(3,\)"):
        matched(optim, net, saved, None, ["c", "a", "b", "d", "e", "f"])


def test_another_number_of_parameters_is_refused():
    net, optim, saved, _ = example()
    saved["param_groups"][0]["params"].pop()
    with pytest.raises(ValueError, match=r"has \[5\] parameters .* expected are \[6\]"):
        matched(optim, net, saved, None, list(SHAPES))
