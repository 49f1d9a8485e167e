"""Accumulated steps are one large batch, whatever they have of words."""

from __future__ import annotations

import copy
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.helpers import draws
from uniadapter.engine.optimizers import (
    AmpOptimWrapper,
    OptimWrapper,
    TrainableOptimWrapperConstructor,
)
from uniadapter.registry import OPTIM_WRAPPERS


class WordModel(nn.Module):
    """A mean over items, as many as the batch has rows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 1).double()
        self.loss_items: int | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.loss_items = len(x)
        return F.softplus(self.linear(x)).mean()


def wrapper(model: nn.Module, counts: int, **options: Any) -> Any:
    cfg = {
        "type": "uniadapter.OptimWrapper",
        "accumulative_counts": counts,
        "optimizer": {"type": "SGD", "lr": 1.0},
        **options,
    }
    return TrainableOptimWrapperConstructor(cfg)(model)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@settings(max_examples=draws(15))
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=7), counts=st.integers(1, 3))
def test_steps_equal_one_batch_of_all_their_items(sizes: list[int], counts: int):
    torch.manual_seed(len(sizes))
    data = [torch.randn(size, 3, dtype=torch.double) for size in sizes]
    model, plain = WordModel(), WordModel()
    optim = wrapper(model, counts)
    optim.initialize_count_status(model, 0, len(data))
    for batch in data:
        optim.update_params(model(batch))
    for start in range(0, len(data), counts):
        loss = plain(torch.cat(data[start : start + counts]))
        plain.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in plain.parameters():
                parameter -= parameter.grad
    # Shares are kept in float32.
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-6, atol=1e-6)


def test_goes_on_between_two_updates():
    data = [torch.randn(size, 3, dtype=torch.double) for size in (2, 5, 3)]
    model = WordModel()
    optim = wrapper(model, 3)
    optim.initialize_count_status(model, 0, 3)
    for batch in data[:2]:
        optim.update_params(model(batch))
    other = WordModel()
    resumed = wrapper(other, 3)
    resumed.load_state_dict(copy.deepcopy(optim.state_dict()))
    resumed.initialize_count_status(other, 2, 3)
    for own, parameter in zip(other.parameters(), model.parameters(), strict=True):
        own.grad = parameter.grad.clone()
    for single, net in ((optim, model), (resumed, other)):
        single.update_params(net(data[2]))
    assert torch.equal(weights(model), weights(other))
    assert "accumulated_items" not in optim.state_dict()


def test_other_losses_are_averaged_as_mmengine_does():
    model, plain = WordModel(), WordModel()
    data = [torch.randn(size, 3, dtype=torch.double) for size in (2, 6)]
    optim = wrapper(model, 2)
    optim.initialize_count_status(model, 0, 2)
    for batch in data:
        loss = model(batch)
        model.loss_items = None
        optim.update_params(loss)
    (sum(plain(batch) for batch in data) / 2).backward()
    expected = torch.cat([(p.detach() - p.grad).flatten() for p in plain.parameters()])
    torch.testing.assert_close(weights(model), expected)


def test_mmengines_names_are_those_of_this_package():
    """Within its scope, which every run has."""
    for kind in (OptimWrapper, AmpOptimWrapper):
        assert OPTIM_WRAPPERS.get(kind.__name__) is kind
        assert kind.__mro__[2].__module__.startswith("mmengine")
