"""Where in an epoch, and between which updates, a checkpoint was saved."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn

from uniadapter.utils.dist import gather_ragged
from uniadapter.utils.generators import generator_states


def take_position(runner: Runner, done: int | None) -> dict[str, Any]:
    """What has to be saved because it is saved in the middle of something. A collective.

    Args:
        runner: The runner.
        done: Batches of the running epoch that are done; None between two epochs, where all
            generators are seeded anew.

    Returns:
        ``done`` and the ``generators`` of each process inside an epoch; ``gradients`` of each
        process between two updates of accumulated gradients.
    """
    content: dict[str, Any] = {}
    if done is not None:
        # Validation inside an epoch draws from the generators, and puts them back.
        states = getattr(runner.train_loop, "states", None) or generator_states()
        content = {"done": done, "generators": all_gather_object(states)}
    if any(not single.should_update() for single in each_wrapper(runner.optim_wrapper).values()):
        content["gradients"] = _gather_gradients(_plain(runner.model))
    return content


def restore_gradients(model: nn.Module, gradients: dict[str, Any]) -> None:
    """Give the parameters the gradients that had been accumulated.

    Args:
        model: The model, wrapped or not.
        gradients: What :func:`take_position` saved under this name.
    """
    model = _plain(model)
    with torch.no_grad():
        for name in gradients["names"][get_rank()]:
            parameter = model.get_parameter(name)
            parameter.grad = gradients["values"][name][get_rank()].to(parameter.device).clone()


def each_wrapper(wrapper: OptimWrapper) -> dict[str, OptimWrapper]:
    """The single optimizer wrappers by name; one alone has an empty name."""
    return dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else {"": wrapper}


def _gather_gradients(model: nn.Module) -> dict[str, Any]:
    """Gradients (processes, ...) by name, and the names of those that each process has.

    Between two updates they are not summed over the processes yet.
    """
    own = {name: p for name, p in model.named_parameters() if p.grad is not None}
    names: list[list[str]] = all_gather_object(list(own))
    values = {}
    for name in sorted({name for part in names for name in part}):
        parameter = model.get_parameter(name)
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        values[name] = gather_ragged(gradient.detach()[None].contiguous(), interleave=False).cpu()
    return {"names": names, "values": values}


def _plain(model: nn.Module) -> nn.Module:
    return getattr(model, "module", model)
