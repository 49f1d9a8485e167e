"""What all heads are: modules that stand alone, or whose parts a task holds under its own names."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from ..execution import Execution


class Head(nn.Module):
    """Base class of heads.

    A head built alone is an ordinary module. A task of this package *adopts* its heads: their parts
    are registered in the task itself, so that a file names them ``vision_proj.weight`` whatever
    head they belong to, and the head is a view of them.
    """

    # The model that adopts the head gives it its own.
    execution = Execution()

    def trained_parts(self) -> dict[str, nn.Module]:
        """Modules with parameters by name, such as projections."""
        return {
            name: part
            for name, part in self.named_children()
            if any(True for _ in part.parameters())
        }

    def scalars(self) -> dict[str, nn.Parameter]:
        """Trained parameters outside of modules, by the component they are counted as."""
        return {}

    def frozen_scalars(self) -> set[str]:
        """Components of :meth:`scalars` that the options freeze."""
        return set()


AnyHead = TypeVar("AnyHead", bound=Head)
_KINDS = ("_parameters", "_buffers", "_modules")


def adopt(model: nn.Module, head: nn.Module) -> None:
    """Register the parts of a head in a model, under the names they have in the head.

    Args:
        model (nn.Module): The model. It keeps the head itself where it is not registered, and asks
            :func:`refreshed` for it.
        head (nn.Module): The head.

    Raises:
        ValueError: If the model has something else of such a name.
    """
    for kind in _KINDS:
        for name, part in getattr(head, kind).items():
            own = getattr(model, name, None)
            if own is not None and own is not part:
                raise ValueError(
                    f"{type(model).__name__} and {type(head).__name__} both have {name!r}: rename "
                    "the head's part."
                )
            if kind == "_parameters":
                model.register_parameter(name, part)
            elif kind == "_buffers":
                model.register_buffer(name, part)
            else:
                model.add_module(name, part)


def refreshed(model: nn.Module, head: AnyHead) -> AnyHead:
    """A head that :func:`adopt` was called with, with the parts that the model has now.

    Whatever replaced a part since (``to_empty``, ``torch.func.functional_call``, another linear
    layer in its place) did so in the model.
    """
    for kind in _KINDS:
        own, theirs = getattr(head, kind), getattr(model, kind)
        own.update({name: theirs[name] for name in own})
    return head
