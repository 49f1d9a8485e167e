"""LoRA (Hu et al. 2022): low-rank terms of matrices, which the matrices can take in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from ..linears import LinearSite
from ..sites import Places
from .base import Adapter, check_choice, check_int, parse_layers
from .merging import MergingAdapter
from .sharing import ByTask, check_axes, tasks_for

TARGETS = ("q", "k", "v", "o", "fc1", "fc2")


def matrices(
    places: Places,
    targets: Iterable[str],
    roles: Iterable[str] | None,
    layers: Iterable[int] | str | None,
    method: str,
) -> tuple[dict[str, LinearSite], int]:
    """The matrices that a method on linear layers fills, each once.

    Args:
        places (Places): The model's sites.
        targets (Iterable[str]): Any of :data:`TARGETS`, of self- and of cross-attention.
        roles (Iterable[str], optional): Runs that are adapted. None: all.
        layers (Iterable[int] | str, optional): Layers, counted from 1. None: all.
        method (str): Whose, for errors.

    Returns:
        tuple: By ``<layer>_<role>_<name>``, the layer from 0; a matrix of two roles under the first
        one's name. And the number of layers that there are to choose from.

    Raises:
        ValueError: If an option is outside its set, or the model has none of the matrices.
    """
    targets = list(targets)
    for target in targets:
        check_choice(target, TARGETS, "adapter.targets")
    if not targets or len(set(targets)) != len(targets):
        raise ValueError(f"adapter.targets={targets}: name at least one, each once.")
    for role in roles or ():
        check_choice(role, places.roles(), "adapter.roles")
    wanted = {
        (role, name): found
        for role in places.roles()
        for target in targets
        for name in (target, f"cross_{target}")
        if (roles is None or role in roles) and (found := places.linears.get(f"{role}.{name}"))
    }
    if not wanted:
        raise ValueError(
            f"{method} adapts the matrices {targets}, of which this model tells none: it has "
            f"{sorted(places.linears)}. Another tower needs a chart with linears."
        )
    depth = 1 + max(index for found in wanted.values() for index in found)
    numbers = set(parse_layers(layers, depth, "adapter.layers"))
    names: dict[LinearSite, str] = {}
    for (role, name), found in wanted.items():
        for index in sorted(numbers & set(found)):
            names.setdefault(found[index], f"{index}_{role}_{name}")
    return {name: site for site, name in names.items()}, depth


class LinearAdapter(MergingAdapter):
    """Base class of methods on linear layers: which they fill, and how they merge.

    Args:
        places (Places): The model's sites.
        options (dict): ``targets``, ``roles`` and ``layers``, see :func:`matrices`, and the
            method's own.
    """

    def __init__(self, places: Places, options: dict[str, Any]) -> None:
        super().__init__(places, options)
        targets, roles, layers = (options[name] for name in ("targets", "roles", "layers"))
        self._sites, self.depth = matrices(places, targets, roles, layers, self.method)

    def weights(self) -> dict[str, torch.Tensor]:
        """See :meth:`MergingAdapter.weights`."""
        found = {f"{name}.weight": site.weight for name, site in self._sites.items()}
        biases = {f"{name}.bias": site.bias for name, site in self._sites.items()}
        return {**found, **{name: bias for name, bias in biases.items() if bias is not None}}

    def folded(self) -> dict[str, torch.Tensor]:
        """See :meth:`MergingAdapter.folded`."""
        training = self.training
        self.eval()
        found = {}
        for name, site in self._sites.items():
            weight, bias = site.folded()
            found[f"{name}.weight"] = weight
            if bias is not None:
                found[f"{name}.bias"] = bias
        Adapter.train(self, training)
        return found

    def parts(self) -> list[Any]:
        """See :meth:`MergingAdapter.parts`."""
        return list(self._sites.values())


class LowRank(nn.Module):
    """The branch ``s B A drop(x)`` of one matrix.

    Args:
        in_width (int): Width of the input.
        out_width (int): Width of the output.
        rank (int): Rank r.
        scale (float): Factor s.
        dropout (float): Dropout of the branch's input.
    """

    def __init__(
        self, in_width: int, out_width: int, rank: int, scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.empty(rank, in_width))
        self.B = nn.Parameter(torch.zeros(out_width, rank))
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Add the branch of ``x`` (..., in) to ``out`` (..., out)."""
        return out + F.linear(F.linear(self.dropout(x), self.A), self.B) * self.scale


@MODELS.register_module()
class LoRA(LinearAdapter):
    """``W x + b + (alpha / r) B A drop(x)`` for chosen matrices (Hu et al. 2022, section 4.1).

    A is Kaiming-uniform, B zero, the branch has no bias: step 0 is the frozen model bit for bit.
    q and v of a matrix that computes q, k and v at once get a pair each, added to their thirds; k
    stays as it is. A matrix that two roles run is adapted once. With q and v of all attentions and
    r=512 that is the 56.6 million of the UniAdapter paper's table 4.

    Args:
        places (Places): The model's sites.
        rank (int): Rank r. Defaults to 8.
        alpha (float, optional): Numerator of the scale. Defaults to None: r, so that it is 1.
        dropout (float): Dropout of the branch's input. Defaults to 0.
        targets (list[str]): Any of ``q``, ``k``, ``v``, ``o``, ``fc1``, ``fc2``. Defaults to
            ``['q', 'v']``.
        roles (list[str], optional): Runs that are adapted. Defaults to None, all.
        layers (list[int] | str, optional): Adapted layers, counted from 1. Defaults to None, all.
        share (list[str]): ``['task']`` has one pair for all tasks that the model learns, none one
            for each (VL-Adapter's multiple LoRA). Defaults to ``['task']``.

    Raises:
        ValueError: If an option is outside its set, the model has none of the matrices, or pairs
            are kept apart by tasks that it does not have.
    """

    def __init__(
        self,
        places: Places,
        rank: int = 8,
        alpha: float | None = None,
        dropout: float = 0.0,
        targets: Iterable[str] = ("q", "v"),
        roles: Iterable[str] | None = None,
        layers: Iterable[int] | str | None = None,
        share: Iterable[str] = ("task",),
    ) -> None:
        check_int(rank, 1, "adapter.rank")
        if not 0 <= dropout < 1:
            raise ValueError(f"adapter.dropout={dropout} must be in [0, 1).")
        alpha = float(rank if alpha is None else alpha)
        options = {
            "rank": rank,
            "alpha": alpha,
            "dropout": dropout,
            "targets": list(targets),
            "roles": None if roles is None else list(roles),
            "layers": layers if layers is None or isinstance(layers, str) else list(layers),
            "share": check_axes(share, "adapter.share", ("task",)),
        }
        super().__init__(places, options)
        self.layers = nn.ModuleDict()
        self._tasks = tasks_for(places, self.options["share"], self.method)
        for name, site in self._sites.items():
            widths = site.in_features, site.out_features
            make = partial(LowRank, *widths, rank, alpha / rank, dropout)
            tasks = self._tasks
            branch: Any = make() if tasks is None else ByTask(tasks, make, self.method)
            self.layers[name] = branch
            site.fill(branch)

    def merge(self) -> None:
        """See :meth:`Adapter.merge`.

        Raises:
            ValueError: If every task has a pair of its own, or it is merged already.
        """
        if self._tasks is not None:
            raise ValueError(
                "LoRA cannot be merged where every task has a pair of its own: a matrix holds one."
            )
        super().merge()
