"""Towers of other projects as they are: sites by hooks on the modules that a chart names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from ..linears import LinearSite
from ..sites import LayerSites, Slot, Use
from ..taps import Recorder, Taps, first_tensor
from .charts import Chart, Place, chart_of_linears, find_chart


def _inside(module: nn.Module, path: str, where: str) -> nn.Module:
    """The module of a dotted path; numbers, negative ones too, index lists of modules.

    Raises:
        ValueError: If there is none.
    """
    found: Any = module
    for part in path.split(".") if path else []:
        is_index = part.lstrip("-").isdigit()
        try:
            found = found[int(part)] if is_index else getattr(found, part)
        except (AttributeError, IndexError, KeyError, TypeError):
            found = None
        if not isinstance(found, nn.Module):
            raise ValueError(
                f"{where}={path!r}: {type(module).__name__} has no such module; it has "
                f"{[name for name, _ in module.named_children()]}."
            ) from None
    return found


def _width(module: nn.Module) -> int | None:
    """Features of a module's output: those of the last of its modules that has a width."""
    width = None
    for part in module.modules():
        for name in ("out_features", "out_channels", "num_features"):
            if isinstance(getattr(part, name, None), int):
                width = getattr(part, name)
        weight = getattr(part, "weight", None)
        if "norm" in type(part).__name__.lower() and isinstance(weight, torch.Tensor):
            width = weight.shape[-1]
    return width


def _layers_of(module: nn.Module, paths: str | tuple[str, ...]) -> list[nn.Module]:
    """The layers that a chart names."""
    if not isinstance(paths, str):
        return [_inside(module, path, "chart.layers") for path in paths]
    found = _inside(module, paths, "chart.layers")
    if not isinstance(found, nn.ModuleList | nn.Sequential) or not len(found):
        raise ValueError(f"chart.layers={paths!r} of {type(module).__name__} is no list of layers.")
    return list(found)


def _linear(layer: nn.Module, name: str, place: str | tuple[str, int, int]) -> LinearSite | None:
    """A matrix of a layer; None where the layer says that it has none."""
    path, part, parts = (place, 0, 1) if isinstance(place, str) else place
    if getattr(layer, path, layer) is None:
        return None
    linear = _inside(layer, path, f"chart.linears.{name}")
    if not isinstance(linear, nn.Linear):
        raise ValueError(f"chart.linears.{name}={path!r} is no nn.Linear but {linear}.")
    size = linear.out_features // parts
    return LinearSite(linear, None if parts == 1 else (part * size, (part + 1) * size))


def linear_sites(
    module: nn.Module,
    role: str,
    numbers: Collection[int],
    chart: Chart | None = None,
) -> list[tuple[int, dict[str, LinearSite]]]:
    """The matrices of a tower's layers with their numbers.

    Args:
        module (nn.Module): The tower, any. Its ``layer_offset`` is its first layer's number, 0
            where it has none.
        role (str): Its run; one that reads a medium has the matrices of cross-attention.
        numbers (Collection[int]): Layers of that run.
        chart (Chart, optional): What names them. Defaults to None: by the class of the tower.

    Returns:
        list: Nothing where no chart names any.
    """
    chart = chart_of_linears(module, role) if chart is None else chart
    if chart is None or not chart.linears:
        return []
    found = []
    layers = _layers_of(module, chart.layers)
    for index, layer in enumerate(layers, getattr(module, "layer_offset", 0)):
        if index in numbers:
            sites = {name: _linear(layer, name, place) for name, place in chart.linears.items()}
            found.append((index, {name: site for name, site in sites.items() if site is not None}))
    return found


class HostedSlot(Slot):
    """A slot whose site is in a module that nobody wrote for it; empty, it leaves no hook.

    Args:
        dim (int): Width of the features.
        write (nn.Module): To whose output the term is added.
        read (nn.Module, optional): Whose input the site shows.
        given (nn.Module, optional): Whose input is the sub-layer's.
        channels_first (bool): Whether states are (B, C, H, W), or (B, C, T, H, W).
    """

    def __init__(
        self,
        dim: int,
        write: nn.Module,
        read: nn.Module | None,
        given: nn.Module | None,
        channels_first: bool,
    ) -> None:
        super().__init__(dim)
        self._modules = {"write": write, "read": read, "given": given}
        self._channels_first = channels_first
        self._handles: list[Any] = []
        self._seen: dict[str, torch.Tensor] = {}

    def fill(
        self,
        use: Use,
        name: str = "default",
        reads: str = "output",
        local: bool = True,
        grid: bool = False,
    ) -> None:
        """As :meth:`Slot.fill`; hooks are installed with the first use."""
        super().fill(use, name, reads, local, grid)
        if self._handles:
            return
        for key in ("read", "given"):
            module = self._modules[key]
            if module is not None:
                hook = partial(self._remember, key)
                self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        write = self._modules["write"]
        if write is not None:
            self._handles.append(write.register_forward_hook(self._write))

    def clear(self, name: str | None = None) -> None:
        """As :meth:`Slot.clear`; hooks are removed with the last use."""
        super().clear(name)
        if not self.filled:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()
            self._seen.clear()

    def _remember(self, key: str, _: nn.Module, args: tuple, kwargs: dict) -> None:
        self._seen[key] = args[0] if args else next(iter(kwargs.values()))

    def _write(self, _: nn.Module, __: Any, out: Any) -> Any:
        to = first_tensor(out)
        # What was read is let go, so that no state outlives its layer.
        state, given = self._seen.pop("read", to), self._seen.pop("given", None)
        seen = [self._tokens(x) for x in (state, given) if x is not None]
        if seen[0].shape[-1] != self.dim:
            raise ValueError(
                f"A site of width {self.dim} met features of shape {tuple(state.shape)}: the chart "
                "names another module than meant, or channels_first is wrong."
            )
        term = self.term(*seen)
        if term is None:
            return None
        if self._channels_first:
            term = term.transpose(1, 2).unflatten(2, to.shape[2:])
        total = to + term
        return (total, *out[1:]) if isinstance(out, tuple | list) else total

    def _tokens(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H * W, C) of (B, C, H, W), (B, T * H * W, C) of (B, C, T, H, W)."""
        return x.flatten(2).transpose(1, 2) if self._channels_first else x


class HostedTower:
    """A tower of another project, with sites and taps. Nothing of it is copied or replaced.

    Args:
        module (nn.Module): The tower; not registered here.
        chart (str | Chart | Mapping, optional): See :func:`find_chart`.

    Raises:
        ValueError: If there is no chart for the tower, or a path of the chart does not exist.
    """

    def __init__(
        self, module: nn.Module, chart: str | Chart | Mapping[str, Any] | None = None
    ) -> None:
        self.module = module
        self.chart = find_chart(module, chart)
        self.layers = _layers_of(module, self.chart.layers)
        self._sites = [
            LayerSites({name: self._slot(layer, name, p) for name, p in self.chart.sites.items()})
            for layer in self.layers
        ]

    def _slot(self, layer: nn.Module, name: str, place: Place) -> HostedSlot:
        where = f"chart.sites.{name}"
        write = _inside(layer, place.write, f"{where}.write")
        width = _width(write)
        if width is None:
            raise ValueError(
                f"{where}.write={place.write!r}: nothing in {type(write).__name__} tells the width "
                "of its output."
            )
        read, given = (
            None if path is None else _inside(layer, path, f"{where}.{key}")
            for key, path in (("read", place.read), ("input", place.input))
        )
        return HostedSlot(width, write, read, given, self.chart.channels_first)

    def sites(self) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0."""
        return list(enumerate(self._sites))

    def taps(self, *args: Any, **kwargs: Any) -> Taps:
        """Run the tower without a graph and return the states of its layers.

        Args:
            *args: Arguments of the tower.
            **kwargs: The same.
        """
        return Recorder(self.layers)(lambda: self.module(*args, **kwargs))
