"""Several methods on one model, each as it is alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS
from uniadapter.utils.safe_io import to_plain

from ..check_config import check_model_cfg
from ..sites import Places
from ..slots import OwnSlot, Slot, Use
from .base import Adapter
from .lora import LinearAdapter


class _Sum:
    """The terms of several uses of one slot, added up; an object, as closures are not copied."""

    def __init__(self, fillings: Sequence[Mapping[str, Any]]) -> None:
        self.uses: list[tuple[Use, bool]] = [(f["use"], f["grid"]) for f in fillings]

    def __call__(self, x: torch.Tensor, **grid: Any) -> torch.Tensor:
        terms = [use(x, **grid) if wants else use(x) for use, wants in self.uses]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


@MODELS.register_module()
class Stack(Adapter):
    """Several methods at once, such as UniAdapter with LoRA or BitFit.

    .. code-block:: python

        adapter=dict(_delete_=True, type='Stack', methods=[
            dict(type='UniAdapter', bottleneck=512), dict(type='LoRA', rank=8)])

    Every method is built on the same places as it is alone. Terms of one site are added up, each of
    what the site shows; a matrix, a parameter, or a place for keys or tokens takes one method. A
    method that takes the place of the towers' runs (UniPT, Ladder) reads them without a graph,
    through which nothing else could learn, and is refused.

    Args:
        places (Places): The model's sites.
        methods (list[dict]): Configs of the methods, two at least.

    Raises:
        ValueError: If a method is wrong by itself, is none that can be stacked, or two want the
            same place; the error names them and the place.
    """

    def __init__(self, places: Places, methods: Sequence[Mapping[str, Any]]) -> None:
        if isinstance(methods, Mapping | str) or len(methods) < 2:
            raise ValueError("adapter.methods must be a list of two configs or more.")
        super().__init__(places, {})
        self.methods: Any = nn.ModuleList()
        filled: dict[int, list[tuple[str, dict[str, Any]]]] = {}
        for number, config in enumerate(methods):
            self.methods.append(self._build(number, config))
            for slot in places:
                filling = slot.withdrawn()
                if filling is not None:
                    found = filled.setdefault(id(slot), [])
                    found.append((self._name(number), filling))
        for address, slot in self._slots():
            self._fill(address, slot, filled.get(id(slot), []))
        stacked: list[Any] = list(self.methods)
        self.options = {"methods": [{"type": m.method, **m.options} for m in stacked]}
        scheduled = [m for m in self.methods if m.schedule is not None]
        if len(scheduled) > 1:
            raise ValueError("adapter.methods: two of them have a schedule of ranks; one may.")
        self.schedule = scheduled[0].schedule if scheduled else None

    def _slots(self) -> Iterator[tuple[str, Slot]]:
        """The slots by their address; one that stands at several of them under the first."""
        seen: set[int] = set()
        for address, layers in self.places.slots.items():
            for index, slot in layers.items():
                if id(slot) not in seen:
                    seen.add(id(slot))
                    yield f"{address}[{index}]", slot

    def _name(self, number: int) -> str:
        return f"adapter.methods[{number}] ({self.methods[number].method})"

    def _build(self, number: int, config: Any) -> Adapter:
        key = f"adapter.methods[{number}]"
        check_model_cfg(config, key)
        try:
            method: Any = MODELS.build(dict(config), default_args={"places": self.places})
        except ValueError as error:
            raise ValueError(f"{key} ({config['type']}): {error}{self._taken()}") from error
        if not isinstance(method, Adapter) or isinstance(method, Stack):
            raise ValueError(f"{key}: a {type(method).__name__} is no method that is stacked.")
        if method.tapped:
            raise ValueError(
                f"{key}: {method.method} takes the place of the towers' runs, which it reads "
                "without a graph, so that no other method would learn: use it alone."
            )
        return method

    def _taken(self) -> str:
        """What methods before have done to matrices and parameters, for an error."""
        sites = [
            address
            for address, found in self.places.linears.items()
            if any(site.filled for site in found.values())
        ]
        before = [self._name(number) for number in range(len(self.methods))]
        if not before or not (sites or self.places.switches):
            return ""
        parts = f"the matrices {sites}" if sites else "parameters"
        return f" Before it {' and '.join(before)} took {parts}."

    @staticmethod
    def _fill(address: str, slot: Slot, found: list[tuple[str, dict[str, Any]]]) -> None:
        """Fill a slot with what one method, or several, put there."""
        if len(found) < 2:
            for _, filling in found:
                slot.fill(**filling)
            return
        names, fillings = " and ".join(name for name, _ in found), [f for _, f in found]
        site = address.partition("[")[0]
        if isinstance(slot, OwnSlot) or site.endswith(".kv"):
            raise ValueError(f"{names} both fill {site}, which takes one method.")
        if len({filling["reads"] for filling in fillings}) > 1:
            raise ValueError(
                f"{names} both fill {site}, but one reads the sub-layer's input and one its "
                "output: choose one of them, or other sites."
            )
        local, grid = (
            all(f["local"] for f in fillings),
            any(f["grid"] for f in fillings),
        )
        slot.fill(_Sum(fillings), reads=fillings[0]["reads"], local=local, grid=grid)

    def normalise(self, option: str, value: Any) -> Any:
        """See :meth:`Adapter.normalise`: every method's options with its defaults."""
        value = to_plain(value)
        kinds = [method.method for method in self.methods]
        if not isinstance(value, list) or [v.get("type") for v in value] != kinds:
            return value
        found = []
        for method, options in zip(self.methods, value, strict=True):
            whole = {**method.defaults(), **{k: v for k, v in options.items() if k != "type"}}
            found.append({key: method.normalise(key, own) for key, own in whole.items()})
        return found

    def translate(self, options: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
        """See :meth:`Adapter.translate`."""
        found = []
        for number, (method, own) in enumerate(zip(self.methods, options["methods"], strict=False)):
            start = f"methods.{number}."
            inside = {name.removeprefix(start) for name in names if name.startswith(start)}
            found.append(method.translate(own, inside) if own["type"] == method.method else own)
        return {**options, "methods": [*found, *options["methods"][len(found) :]]}

    def former_names(self) -> dict[str, str]:
        """See :meth:`Adapter.former_names`."""
        return {
            f"methods.{number}.{former}": f"methods.{number}.{name}"
            for number, method in enumerate(self.methods)
            for former, name in method.former_names().items()
        }

    def backbone_loaded(self) -> None:
        """See :meth:`Adapter.backbone_loaded`."""
        for method in self.methods:
            method.backbone_loaded()

    def penalty(self) -> torch.Tensor | None:
        """See :meth:`Adapter.penalty`: the sum of the methods'."""
        found = [p for p in (method.penalty() for method in self.methods) if p is not None]
        return torch.stack(found).sum() if found else None

    def components(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of all methods by component."""
        found: dict[str, list[nn.Parameter]] = {}
        for method in self.methods:
            for name, parameters in method.components().items():
                found.setdefault(name, []).extend(parameters)
        return found

    @property
    def merged(self) -> bool:
        """See :meth:`Adapter.merged`."""
        return any(method.merged for method in self.methods)

    def _in_order(self) -> list[Any]:
        """Methods in the order in which they merge: matrices take in what changes their bias."""
        return sorted(self.methods, key=lambda method: isinstance(method, LinearAdapter))

    def merge(self) -> None:
        """See :meth:`Adapter.merge`; all methods or none.

        Raises:
            ValueError: If it is merged already, or one of the methods can't be.
        """
        if self.merged:
            raise ValueError("This Stack is merged already.")
        done: list[Any] = []
        try:
            for method in self._in_order():
                method.merge()
                done.append(method)
        except ValueError as error:
            for method in reversed(done):
                method.unmerge()
            raise ValueError(f"This Stack cannot be merged: {error}") from error

    def unmerge(self) -> None:
        """See :meth:`Adapter.unmerge`.

        Raises:
            ValueError: If it is not merged.
        """
        if not self.merged:
            raise ValueError("This Stack is not merged.")
        for method in reversed(self._in_order()):
            method.unmerge()
