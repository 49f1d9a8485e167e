"""Optimizer states that belong to parameters by name.

Torch numbers the parameters of an optimizer in the order in which it was given them. When a module
of the model moves, the numbers move, and two projections of one shape would exchange their states
without an error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from uniadapter.checkpoints.compare import Differences

# Per-element states of torch's optimizers; others (Adafactor's factors) have shapes of their own.
_ELEMENTWISE = frozenset(
    ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "sum")
    + ("square_avg", "grad_avg", "acc_delta", "prev", "step_size", "ax")
)
Names = list[list[str]]


def optimizer_names(wrapper: OptimWrapper, model: nn.Module) -> Names | dict[str, Names]:
    """The parameters of an optimizer by name.

    Args:
        wrapper: One optimizer, or several by name.
        model: The model without a wrapper for distributed training.

    Returns:
        The names of each parameter group, in the optimizer's order; for several optimizers by
        their name.
    """
    if isinstance(wrapper, OptimWrapperDict):
        return {key: _names(single, model) for key, single in wrapper.items()}
    return _names(wrapper, model)


def match_optimizer(
    saved: dict[str, Any],
    names: Any,
    wrapper: OptimWrapper,
    model: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    obsolete: Collection[str],
    path: str,
) -> dict[str, Any]:
    """Put saved states in the order of this run's optimizer.

    Args:
        saved: ``state_dict()`` of the optimizer wrapper in the checkpoint.
        names: What :func:`optimizer_names` gave when it was saved. None for files that have no
            names: the order of the model that wrote them, which that of their tensors is, stands
            in for them.
        wrapper: This run's optimizer wrapper.
        model: This run's model.
        tensors: The checkpoint's ``state_dict``, in order.
        obsolete: Names of tensors in it that are left out, with their states.
        path: The file, for errors.

    Returns:
        The states by this run's numbers.

    Raises:
        ValueError: If names, groups or shapes differ.
    """
    if isinstance(wrapper, OptimWrapperDict):
        if set(saved) != set(wrapper.keys()):
            raise ValueError(
                f"Checkpoint {path} has the optimizers {sorted(saved)}, this run has "
                f"{sorted(wrapper.keys())}: resume with the optim_wrapper it was trained with."
            )
        return {
            key: match_optimizer(
                saved[key],
                None if names is None else names[key],
                single,
                model,
                tensors,
                obsolete,
                path,
            )
            for key, single in wrapper.items()
        }
    own = _names(wrapper, model)
    groups = saved["param_groups"]
    if names is None:
        names = _by_order_of_the_file(own, model, tensors, obsolete)
    if [len(group) for group in names] != [len(group["params"]) for group in groups]:
        raise ValueError(
            f"Checkpoint {path} has {[len(group['params']) for group in groups]} parameters in the "
            f"groups of its optimizer, expected are {[len(group) for group in names]}: resume "
            "with the model and the optim_wrapper it was trained with."
        )
    number = {
        name: index
        for group, members in zip(groups, names, strict=True)
        for index, name in zip(group["params"], members, strict=True)
    }
    names = [[name for name in members if name not in obsolete] for members in names]
    groups = [group for group, members in zip(groups, names, strict=True) if members]
    names = [members for members in names if members]
    _check_groups(names, own, path)
    parameters = dict(model.named_parameters())
    new_groups, state, count = [], {}, 0
    for members in own:
        source = groups[[set(group) for group in names].index(set(members))]
        new_groups.append({**source, "params": list(range(count, count + len(members)))})
        for name in members:
            if number[name] in saved["state"]:
                state[count] = saved["state"][number[name]]
                _check_shapes(name, state[count], parameters[name], path)
            count += 1
    return {**saved, "state": state, "param_groups": new_groups}


def _names(wrapper: OptimWrapper, model: nn.Module) -> Names:
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    return [[known.get(id(p), "") for p in group["params"]] for group in groups]


def _by_order_of_the_file(
    own: Names,
    model: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    obsolete: Collection[str],
) -> Names:
    """This run's names, each group in the order in which the file has its tensors.

    What is obsolete was in the group of its neighbour of the same kind.
    """
    known = {name: p for name, p in model.named_parameters(remove_duplicate=False)}
    canonical = {id(parameter): name for name, parameter in model.named_parameters()}
    # A tied tensor stands in the file several times: its first place is that of the parameter.
    place: dict[str, int] = {}
    gone = [name for name in tensors if name in obsolete and not name.startswith("ema.")]
    for name in tensors:
        if name in known or name in gone:
            place.setdefault(canonical[id(known[name])] if name in known else name, len(place))
    if all(len(group) == 1 for group in own):
        groups = [*own, *([name] for name in gone)]
        return sorted(groups, key=lambda group: place.get(group[0], len(place))) if gone else own
    groups = [list(group) for group in own]
    trained = {name: index for index, group in enumerate(own) for name in group if name in place}
    for name in gone:
        # Weights and biases may be in groups apart.
        neighbour = min(
            trained,
            key=lambda n: (known[n].dim() != tensors[name].dim(), abs(place[n] - place[name])),
        )
        groups[trained[neighbour]].append(name)
    return [sorted(group, key=lambda name: place.get(name, len(place))) for group in groups]


def _check_groups(saved: Names, own: Names, path: str) -> None:
    there = {name for group in saved for name in group}
    here = {name for group in own for name in group}
    Differences("its parameters", sorted(here - there), sorted(there - here)).raise_for(
        f"The optimizer of checkpoint {path}",
        "Resume with the config it was trained with, or take the weights alone with load_from.",
    )
    if sorted(map(sorted, saved)) != sorted(map(sorted, own)):
        raise ValueError(
            f"The optimizer of checkpoint {path} has its parameters in other groups than this "
            "run's: resume with the same optim_wrapper.paramwise_cfg, or take the weights alone "
            "with load_from."
        )


def _check_shapes(name: str, state: Mapping[str, Any], parameter: torch.Tensor, path: str) -> None:
    for key, value in state.items():
        elementwise = key in _ELEMENTWISE and isinstance(value, torch.Tensor) and value.dim() > 0
        if elementwise and value.shape != parameter.shape:
            raise ValueError(
                f"Checkpoint {path} has the optimizer state {key} of {name} in the shape "
                f"{tuple(value.shape)}, the parameter has {tuple(parameter.shape)}: it was "
                "trained with another model, or its tensors are in another order."
            )
