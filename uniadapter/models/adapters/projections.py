"""The projections that a bottleneck is made of: linear, PHM, of low rank.

A *kind* knows its options, makes projections, and makes what several of them have in common.
:class:`.hypernet.HyperNetwork` generates those of the fourth kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import PROJECTIONS

from .base import check_choice, check_int
from .sharing import SIDES, Bank, Position

RULES = ("own", "position", "model")


def init_linear(linear: nn.Linear, init: str, side: str) -> None:
    """Initialise a linear projection.

    Args:
        linear (nn.Linear): As torch made it.
        init (str): ``'normal'`` of standard deviation 0.02 with zero biases; ``'torch'``, as it is;
            ``'zero_up'``, Kaiming-uniform down and zero up; ``'xavier'``, uniform of gain sqrt(2).
        side (str): ``'down'`` or ``'up'``.
    """
    if init == "torch":
        return
    if init == "normal":
        nn.init.normal_(linear.weight, std=0.02)
    elif init == "xavier":
        nn.init.xavier_uniform_(linear.weight, gain=math.sqrt(2))
    elif side == "up":
        nn.init.zeros_(linear.weight)
    else:
        nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5))
    nn.init.zeros_(linear.bias)


def _init_factors(factors: Iterable[torch.Tensor], init: str, side: str) -> None:
    """Every slice of factors (..., in, out) by itself, ``'xavier'`` or ``'zero_up'``.

    Of the latter the last factor of an up-projection is zero.
    """
    factors = list(factors)
    for factor in factors:
        # torch takes the first two of more dimensions for those of a kernel.
        bound = math.sqrt(2) * math.sqrt(6 / (factor.shape[-2] + factor.shape[-1]))
        nn.init.uniform_(factor, -bound, bound)
    if init == "zero_up" and side == "up":
        nn.init.zeros_(factors[-1])


class PHMRule(nn.Module):
    """The matrices A (k, k, k) of parametrised hypercomplex multiplications.

    Args:
        k (int): Number and size.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.empty(k, k, k))
        nn.init.normal_(self.A, std=0.01)


class PHM(nn.Module):
    """``x H + b`` with ``H = sum_i kron(A_i, W_i)`` (Mahabadi et al. 2021, section 3.3).

    Args:
        in_features (int): Width of the input; divisible by k.
        out_features (int): Width of the output; divisible by k.
        k (int): Number of terms.
        rank (int, optional): ``W_i = L_i R_i`` of this rank. Defaults to None: W is whole.
        rule (PHMRule, optional): A that others use as well, which is registered elsewhere. Defaults
            to None: an own one.

    Raises:
        ValueError: If k does not divide both widths.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        k: int,
        rank: int | None = None,
        rule: PHMRule | None = None,
    ) -> None:
        super().__init__()
        if in_features % k or out_features % k:
            raise ValueError(
                f"adapter.projection.k={k} must divide the widths {in_features} and {out_features} "
                "of a projection: choose another k or bottleneck."
            )
        if rule is None:
            self.rule = rule = PHMRule(k)
        # In a tuple: a rule of others is registered there, and not here as well.
        self._rule = (rule,)
        self.sizes = in_features, out_features
        rows, columns = in_features // k, out_features // k
        self.factorised = rank is not None
        if rank is None:
            self.W = nn.Parameter(torch.empty(k, rows, columns))
        else:
            self.L = nn.Parameter(torch.empty(k, rows, rank))
            self.R = nn.Parameter(torch.empty(k, rank, columns))
        # Not called a bias, as the original's: weight decay tells them by that.
        self.b = nn.Parameter(torch.zeros(out_features))
        self.reset("xavier", "down")

    def reset(self, init: str, side: str) -> None:
        """Draw the factors anew, see :func:`_init_factors`."""
        _init_factors((self.L, self.R) if self.factorised else (self.W,), init, side)

    def weight(self) -> torch.Tensor:
        """H (in_features, out_features)."""
        factors = self.L @ self.R if self.factorised else self.W
        return torch.einsum("iab,icd->acbd", self._rule[0].A, factors).reshape(self.sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Project (..., in_features) to (..., out_features)."""
        return F.linear(x, self.weight().T, self.b)


class LowRankProjection(nn.Module):
    """``x L R + b``.

    Args:
        in_features (int): Width of the input.
        out_features (int): Width of the output.
        rank (int): Rank r.
    """

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.L = nn.Parameter(torch.empty(in_features, rank))
        self.R = nn.Parameter(torch.empty(rank, out_features))
        self.b = nn.Parameter(torch.zeros(out_features))
        self.reset("xavier", "down")

    def reset(self, init: str, side: str) -> None:
        """Draw the factors anew, see :func:`_init_factors`."""
        _init_factors((self.L, self.R), init, side)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Project (..., in_features) to (..., out_features)."""
        return F.linear(F.linear(x, self.L.T), self.R.T, self.b)


class Kind:
    """Base class of kinds of projections; their fields are their options."""

    #: Ways to initialise, the default first.
    inits: ClassVar[tuple[str, ...]]

    def common(self, positions: Iterable[Position], share: Mapping[str, Any]) -> dict[str, Any]:
        """Modules that several projections use, by name.

        Args:
            positions (Iterable[Position]): Where projections are.
            share (Mapping): Axes that those of each side are shared over.
        """
        return {}

    def make(
        self,
        sizes: tuple[int, int],
        init: str,
        side: str,
        position: Position,
        common: Mapping[str, Any],
    ) -> nn.Module:
        """Make a projection.

        Args:
            sizes (tuple[int, int]): Widths of input and output.
            init (str): One of :attr:`inits`.
            side (str): ``'down'`` or ``'up'``.
            position (Position): Where it is used first.
            common (Mapping): What :meth:`common` made.
        """
        raise NotImplementedError


@PROJECTIONS.register_module(name="linear")
@dataclass(frozen=True)
class LinearKind(Kind):
    """``x W + b``, whole."""

    inits: ClassVar[tuple[str, ...]] = ("normal", "torch", "zero_up", "xavier")

    def make(
        self,
        sizes: tuple[int, int],
        init: str,
        side: str,
        position: Position,
        common: Mapping[str, Any],
    ) -> nn.Module:
        """See :meth:`Kind.make`."""
        linear = nn.Linear(*sizes)
        init_linear(linear, init, side)
        return linear


@PROJECTIONS.register_module(name="phm")
@dataclass(frozen=True)
class PHMKind(Kind):
    """See :class:`PHM`.

    Args:
        k (int): Number of terms. Defaults to 2.
        rank (int, optional): Of the factors. Defaults to None, whole.
        rule (str): Whose A is: ``'own'``, one in every projection; ``'position'``, one for all
            tasks; or ``'model'``, a single one. Defaults to ``'own'``.
    """

    inits: ClassVar[tuple[str, ...]] = ("xavier", "zero_up")

    k: int = 2
    rank: int | None = None
    rule: str = "own"

    def __post_init__(self) -> None:
        check_int(self.k, 1, "adapter.projection.k")
        if self.rank is not None:
            check_int(self.rank, 1, "adapter.projection.rank")
        check_choice(self.rule, RULES, "adapter.projection.rule")

    def common(self, positions: Iterable[Position], share: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`Kind.common`: rules of several projections."""
        if self.rule == "model":
            return {"rule": PHMRule(self.k)}
        if self.rule == "own":
            return {}
        return {
            side: Bank(positions, {*share[side], "task"}, lambda _: PHMRule(self.k))
            for side in SIDES
        }

    def make(
        self,
        sizes: tuple[int, int],
        init: str,
        side: str,
        position: Position,
        common: Mapping[str, Any],
    ) -> nn.Module:
        """See :meth:`Kind.make`."""
        rule = common.get("rule")
        if side in common:
            rule = common[side].of_position(position)
        projection = PHM(*sizes, self.k, self.rank, rule)
        projection.reset(init, side)
        return projection


@PROJECTIONS.register_module(name="low_rank")
@dataclass(frozen=True)
class LowRankKind(Kind):
    """See :class:`LowRankProjection`.

    Args:
        rank (int): Rank r. Defaults to 1.
    """

    inits: ClassVar[tuple[str, ...]] = ("xavier", "zero_up")

    rank: int = 1

    def __post_init__(self) -> None:
        check_int(self.rank, 1, "adapter.projection.rank")

    def make(
        self,
        sizes: tuple[int, int],
        init: str,
        side: str,
        position: Position,
        common: Mapping[str, Any],
    ) -> nn.Module:
        """See :meth:`Kind.make`."""
        projection = LowRankProjection(*sizes, self.rank)
        projection.reset(init, side)
        return projection


def parse_projection(value: Any) -> tuple[Kind, dict[str, Any]]:
    """The kind that a config names.

    Args:
        value (str | Mapping): ``'linear'``, or a dict with the ``type`` of a registered kind and
            its options.

    Returns:
        tuple: The kind, and its config with all options.

    Raises:
        ValueError: If the type or an option is unknown, or a value is outside its set.
    """
    config = {"type": value} if isinstance(value, str) else value
    names = sorted(PROJECTIONS.module_dict)
    if not isinstance(config, Mapping) or "type" not in config:
        raise ValueError(
            f"adapter.projection={value!r} must be one of {names}, or a dict with such a `type`."
        )
    options = {name: option for name, option in config.items() if name != "type"}
    check_choice(config["type"], names, "adapter.projection.type")
    kind_of: Any = PROJECTIONS.get(config["type"])
    known = {field.name for field in fields(kind_of)}
    if set(options) - known:
        raise ValueError(
            f"adapter.projection has the unknown option(s) {sorted(set(options) - known)}: "
            f"{config['type']!r} has {sorted(known)}."
        )
    kind = kind_of(**options)
    return kind, {"type": config["type"], **asdict(kind)}
