"""Momentum (EMA) copies of the trained tensors only.

Frozen weights are the same in the online and in the momentum model, so they are shared: the
momentum model is the online model called with a few tensors exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from uniadapter.checkpoints.state import KEPT_ADAPTERS
from uniadapter.utils.modes import evaluating


class TrainedEMA(nn.Module):
    """Exponential moving averages of some parameters of a model.

    Args:
        model (nn.Module): The model; it is not registered here.
        names (Iterable[str]): Names of the averaged parameters.
        momentum (float): Weight of the average in an update, such as 0.995.
    """

    def __init__(self, model: nn.Module, names: Iterable[str], momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.names = list(names)
        for name in self.names:
            value = model.get_parameter(name).detach().clone()
            self.register_buffer(self._buffer(name), value)
        # Whoever loads weights, and from wherever: averages of the random weights that the model
        # was built with would take thousands of steps to forget them.
        if _follow_loaded not in model._load_state_dict_post_hooks.values():
            model.register_load_state_dict_post_hook(_follow_loaded)

    @staticmethod
    def _buffer(name: str) -> str:
        return name.replace(".", "/")

    def averages(self) -> dict[str, torch.Tensor]:
        """The averages by parameter name."""
        return {name: self.get_buffer(self._buffer(name)) for name in self.names}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the averages towards the model's parameters, once a step."""
        if not self.names:
            return
        current = [model.get_parameter(name).detach() for name in self.names]
        torch._foreach_lerp_(list(self.averages().values()), current, 1 - self.momentum)

    @torch.no_grad()
    def reset(self, model: nn.Module) -> None:
        """Set the averages to the model's parameters, after pretrained weights were loaded."""
        for name, average in self.averages().items():
            average.copy_(model.get_parameter(name))

    @torch.no_grad()
    def call(
        self, model: nn.Module, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Call a function of the model with the averages in place of its parameters, in eval mode.

        Dropout is off: the averages are targets, not a second noisy student.

        Args:
            model (nn.Module): The model.
            function (Callable): The model itself, or a method of it.
            *args: Of the function.
            **kwargs: Of the function.

        Returns:
            What the function returns.
        """
        averages = {f"model.{name}": average for name, average in self.averages().items()}
        with evaluating(model):
            return functional_call(_Call(model, function), averages, args, kwargs)


class _Call(nn.Module):
    """A function of a model as the forward pass of a module, which is what torch exchanges for."""

    def __init__(self, model: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        # In a list, as a model that is its own function would be registered twice.
        self.function = [function]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function[0](*args, **kwargs)


@torch.no_grad()
def _follow_loaded(model: nn.Module, incompatible: Any) -> None:
    """Set averages to loaded parameters where the file had the parameter and no average."""
    missing = set(incompatible.missing_keys)
    parameters = model.named_parameters(remove_duplicate=False)
    # A tied tensor has several names, and one of them in the file is enough.
    loaded = {id(parameter) for name, parameter in parameters if name not in missing}
    for prefix, ema in model.named_modules():
        # Those of an adapter that is not active have the names of its own parameters.
        if not isinstance(ema, TrainedEMA) or prefix.startswith(f"{KEPT_ADAPTERS}."):
            continue
        for name, average in ema.averages().items():
            parameter = model.get_parameter(name)
            if id(parameter) in loaded and f"{prefix}.{ema._buffer(name)}" in missing:
                average.copy_(parameter)
