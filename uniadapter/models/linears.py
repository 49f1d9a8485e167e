"""A tower's matrices and vectors as places: what computes with them can be changed from outside.

Names and values of a tower's own parameters stay what they are, so that its files, its fingerprint
and what is frozen of it do. Instead its module becomes one of a class that inherits from its own
and adds what a method says; torch's parametrizations work alike, but rename the parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

LinearUse = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Rows = tuple[int, int]
_USES = "linear_uses"
_SHIFTS = "parameter_shifts"


def adapted(module: nn.Module) -> bool:
    """Whether a method has changed a module, or one inside it: its weights alone don't tell."""
    return any(_USES in vars(part) or _SHIFTS in vars(part) for part in module.modules())


def shifted(module: nn.Module) -> set[str]:
    """Names of a module's own parameters whose differences a method trains, see `Shifts`."""
    return set(vars(module)[_SHIFTS][1]) if _SHIFTS in vars(module) else set()


def drop_shifts(module: nn.Module) -> None:
    """Leave no difference in a module or one inside it, such as those of a method half built."""
    for part in module.modules():
        if vars(part).pop(_SHIFTS, None) is not None:
            _dress(part)


def intact(*modules: nn.Module) -> bool:
    """Whether linear layers compute what their own tensors say and no more.

    A method or another library (peft's LoRA) may have put something in their place.
    """
    return all(type(module) is nn.Linear for module in modules)


def _dress(module: nn.Module) -> None:
    """Give a module the class that does what methods have put on it, and no more."""
    kind: Any = type(module)
    while "plain_class" in vars(kind):
        kind = kind.plain_class
    if _SHIFTS in vars(module):
        kind = _shifted_class(kind, tuple(vars(module)[_SHIFTS][1]))
    if _USES in vars(module):
        kind = _adapted_class(kind)
    module.__class__ = kind


class LinearFilling:
    """What a method does with the output of some rows of a matrix."""

    def __init__(self, use: LinearUse) -> None:
        self.use = use
        self.enabled = True


class _AdaptedLinear:
    """Put before a class of linear modules: its output goes through what methods say."""

    linear_uses: dict[Rows | None, LinearFilling]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)  # type: ignore[misc]
        active = {rows: use for rows, use in self.linear_uses.items() if use.enabled}
        whole = active.pop(None, None)
        if whole is not None:
            return whole.use(x, out)
        if not active:
            return out
        edges = sorted({0, out.shape[-1], *(edge for rows in active for edge in rows or ())})
        spans = list(pairwise(edges))
        # Split at once: the gradient of a slice is as wide as all rows, and mostly zeros. Unsafe is
        # to use what was split once more; a method may change its part in place, as peft's do.
        parts = torch.unsafe_split_with_sizes(out, [stop - first for first, stop in spans], dim=-1)
        changed = [
            active[span].use(x, part) if span in active else part
            for span, part in zip(spans, parts, strict=True)
        ]
        return torch.cat(changed, dim=-1)


@cache
def _adapted_class(kind: type) -> type:
    return type(f"Adapted{kind.__name__}", (_AdaptedLinear, kind), {"plain_class": kind})


class LinearSite:
    """An ``nn.Linear`` of a layer, or rows of one that computes several projections at once.

    Two of them are equal where they are the same rows of the same module, as those of two runs of
    one tower.

    Args:
        linear (nn.Linear): The module.
        rows (tuple[int, int], optional): First row, and the one behind the last. None: all.
    """

    def __init__(self, linear: nn.Linear, rows: Rows | None = None) -> None:
        self.linear = linear
        self.rows = rows

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, LinearSite) and self.linear is other.linear
        return same and self.rows == other.rows  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((id(self.linear), self.rows))

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return self.linear.in_features

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return self.linear.out_features if self.rows is None else self.rows[1] - self.rows[0]

    def _of(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if self.rows is None else tensor[self.rows[0] : self.rows[1]]

    @property
    def weight(self) -> torch.Tensor:
        """(out_features, in_features), the tower's own memory."""
        return self._of(self.linear.weight)

    @property
    def bias(self) -> torch.Tensor | None:
        """(out_features,), the tower's own memory; None if there is none."""
        return None if self.linear.bias is None else self._of(self.linear.bias)

    @property
    def _use(self) -> LinearFilling | None:
        return getattr(self.linear, _USES, {}).get(self.rows)

    @property
    def filled(self) -> bool:
        """Whether a method has filled the place."""
        return self._use is not None

    @property
    def enabled(self) -> bool:
        """Whether what fills it acts; True of an empty one."""
        return self._use is None or self._use.enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        if self._use is not None:
            self._use.enabled = value

    def fill(self, use: LinearUse) -> None:
        """Let a method change what the matrix gives.

        Args:
            use (Callable): Maps the input (..., in_features) and the tower's own output
                (..., out_features) to the new output.

        Raises:
            ValueError: If these rows, or others together with all of them, are filled already.
        """
        self.put_back(LinearFilling(use))

    def withdrawn(self) -> LinearFilling | None:
        """Take the method out, as :meth:`put_back` takes it; None where there is none."""
        filling = self._use
        self.clear()
        return filling

    def put_back(self, filling: LinearFilling) -> None:
        """Fill the place with what :meth:`withdrawn` gave.

        Args:
            filling (LinearFilling): It; whether it acts stays as it was.

        Raises:
            ValueError: See :meth:`fill`.
        """
        uses: dict[Rows | None, LinearFilling] = getattr(self.linear, _USES, {})
        if uses and (self.rows is None or None in uses or self.filled):
            raise ValueError("This matrix is filled already: clear() it before filling it again.")
        uses = {**uses, self.rows: filling}
        order = sorted(uses.items(), key=lambda item: item[0] or (0, 0))
        setattr(self.linear, _USES, dict(order))
        _dress(self.linear)

    def clear(self) -> None:
        """Take the method out."""
        uses = {r: use for r, use in getattr(self.linear, _USES, {}).items() if r != self.rows}
        if uses:
            setattr(self.linear, _USES, uses)
        elif hasattr(self.linear, _USES):
            delattr(self.linear, _USES)
            _dress(self.linear)

    @torch.no_grad()
    def folded(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weight and bias of the one matrix that does what this and its method do.

        Raises:
            ValueError: If nothing fills the place, the weight is stored in half precision, which
                would round what was trained, there is no bias to hold a constant, or no matrix
                does what the method does.
        """
        weight, bias = self.weight, self.bias
        if self._use is None or weight.dtype != torch.float32:
            raise ValueError(
                f"A matrix of {weight.dtype} can't take what was trained: merge before frozen "
                "weights are cast."
            )
        none = weight.new_zeros(1, self.in_features)
        each = torch.eye(self.in_features, dtype=weight.dtype, device=weight.device)
        constant, columns = (self._use.use(x, F.linear(x, weight, bias)) for x in (none, each))
        if bias is None and constant.any():
            raise ValueError("This method adds a constant to a matrix without a bias.")
        folded = (columns - constant).T
        x = torch.linspace(-1, 1, self.in_features).to(weight)[None]
        want, got = self._use.use(x, F.linear(x, weight, bias)), F.linear(x, folded) + constant
        if not torch.allclose(got, want, atol=1e-3 * float(want.abs().max()), rtol=0):
            raise ValueError("What this method does is no linear function of the input.")
        return folded, None if bias is None else constant[0]


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises features: torch's LayerNorm, or another library's (T5's)."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("LayerNorm")


class Shifts(nn.Module):
    """Trained differences to parameters of towers, which keep their frozen values.

    As differences they belong to the method: towers without them, which is what a momentum copy, a
    file or a comparison with the frozen model wants, are there at any time.

    Args:
        towers (Mapping[str, nn.Module]): Towers by name.
        names (Collection[str]): Parameters of their modules that are shifted, such as ``bias``.
        wanted (Callable): Whether a module is meant. Defaults to all.
    """

    def __init__(
        self,
        towers: Mapping[str, nn.Module],
        names: Collection[str],
        wanted: Callable[[nn.Module], bool] = lambda module: True,
    ) -> None:
        super().__init__()
        self.enabled = True
        # In a tuple: modules of the towers are registered there, and not here as well.
        self._shifted: tuple[tuple[nn.Module, dict[str, str]], ...] = ()
        seen: set[int] = set()
        for tower, module in towers.items():
            for path, part in module.named_modules():
                if id(part) in seen or not wanted(part):
                    continue
                seen.add(id(part))
                self._shift(part, f"{tower}.{path}", names)

    def _shift(self, part: nn.Module, path: str, names: Collection[str]) -> None:
        keys = {}
        for name in names:
            frozen = part._parameters.get(name)
            if frozen is not None:
                # A parameter's name has no dots.
                keys[name] = f"{path}.{name}".replace(".", "/")
                self.register_parameter(keys[name], nn.Parameter(torch.zeros_like(frozen)))
        if keys and _SHIFTS in vars(part):
            raise ValueError(
                f"Another method trains differences of {path} ({type(part).__name__}) already: "
                "parameters take one."
            )
        if keys:
            vars(part)[_SHIFTS] = (self, keys)
            _dress(part)
            self._shifted = (*self._shifted, (part, keys))

    def take_out(self) -> None:
        """Leave the towers as they are without the differences, until :meth:`put_back`."""
        for part, _ in self._shifted:
            del vars(part)[_SHIFTS]
            _dress(part)

    def put_back(self) -> None:
        """Shift the parameters again."""
        for part, keys in self._shifted:
            vars(part)[_SHIFTS] = (self, keys)
            _dress(part)

    def effective(self, part: nn.Module, name: str, frozen: torch.Tensor) -> torch.Tensor:
        """The value that a module computes with."""
        key = vars(part)[_SHIFTS][1][name]
        # An average in the parameter's place is a plain tensor, which get_parameter refuses.
        shift = cast(torch.Tensor, self._parameters[key])
        return frozen + shift if self.enabled else frozen

    def frozen(self) -> dict[str, torch.Tensor]:
        """The towers' own parameters by the name of their difference."""
        return {
            key: part._parameters[name]  # type: ignore[misc]
            for part, keys in self._shifted
            for name, key in keys.items()
        }


@cache
def _shifted_class(kind: type, names: tuple[str, ...]) -> type:
    """A class of modules whose parameters of these names are read with their differences."""

    def reader(name: str) -> property:
        def read(part: Any) -> torch.Tensor:
            shifts, _ = vars(part)[_SHIFTS]
            return shifts.effective(part, name, part._parameters[name])

        return property(read)

    own: dict[str, Any] = {name: reader(name) for name in names}
    return type(f"Shifted{kind.__name__}", (kind,), {**own, "plain_class": kind})
