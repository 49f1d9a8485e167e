"""What differs between the tensors of a file and those of a model, found and said in one way."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from uniadapter.utils.tensors import why_unread

from .state import TRAINING_STATE

# Parts of another task or of training that a file may hold beside what a model wants.
_HEADS = ("vision_proj.", "text_proj.", "itm_head.", "logit_fc.", "temp", "logit_scale")
_PARTS = ("adapter.", *TRAINING_STATE, "decoder.", "text.", *_HEADS)
_SHOWN = 5


def is_part(name: str) -> bool:
    """Whether a name is that of a part that this package writes, of any model."""
    return name.startswith(_PARTS)


def parts_beside(model: torch.nn.Module, *also: str) -> Callable[[str], bool]:
    """What a file may have beside a model's own: parts of training, or that the model has not.

    Args:
        model (nn.Module): The model.
        *also (str): Parts that it may have although the model has them, such as ``'adapter'``.

    Returns:
        Callable: Whether a name is of such a part. A tower's that the model has under no such
        name is none: it would be lost.
    """
    own = {name.split(".")[0] for name in model.state_dict()}

    def beside(name: str) -> bool:
        part = name.split(".")[0]
        absent = part not in own or part in also or name.startswith(TRAINING_STATE)
        return absent and is_part(name)

    return beside


def has_place(name: str, shape: torch.Size, own: torch.Size) -> bool:
    """Whether a tensor can be loaded under a name of the model.

    Args:
        name (str): The name.
        shape (torch.Size): Shape of the tensor.
        own (torch.Size): Shape of the model's.

    Returns:
        bool: True for equal shapes, and for position embeddings of any square of patches and one
        class token: the visual tower interpolates them while loading.
    """
    if shape == own or not name.endswith("pos_embed"):
        return shape == own
    square = len(shape) == 3 and math.isqrt(max(shape[1] - 1, 0)) ** 2 == shape[1] - 1 > 0
    return square and (shape[0], shape[2]) == (own[0], own[2])


@dataclass(frozen=True)
class Differences:
    """How a file differs from a model; false where it does not.

    Attributes:
        model (str): Name of the model's class.
        missing (Collection[str]): What the model needs and the file lacks.
        unknown (Collection[str]): What the file has and the model does not know.
        shapes (Collection[str]): Tensors of other shapes, in words.
        kinds (Collection[str]): Tensors of another kind of numbers, in words.
        options (Collection[str]): Options of the adapter that have other values, in words.
        foreign (bool): The file has nothing of what the model needs.
    """

    model: str
    missing: Collection[str] = ()
    unknown: Collection[str] = ()
    shapes: Collection[str] = ()
    kinds: Collection[str] = ()
    options: Collection[str] = ()
    foreign: bool = False

    def __bool__(self) -> bool:
        return bool(self.missing or self.unknown or self.shapes or self.kinds or self.options)

    def lines(self) -> list[str]:
        """The differences, a kind of them a line."""
        lines = list(self.options)
        if self.foreign:
            lines.append(f"none of what the model needs is in the file: {_some(self.missing)}")
        elif self.missing:
            lines.append(f"missing in the file: {_some(self.missing)}")
        if self.unknown:
            lines.append(f"not in the model: {_some(self.unknown)}")
        for said, what in ((self.shapes, "other shapes"), (self.kinds, "another kind")):
            lines += list(said)[:_SHOWN]
            if len(said) > _SHOWN:
                lines.append(f"and {len(said) - _SHOWN} more of {what}")
        return lines

    def raise_for(self, path: object, remedy: str) -> None:
        """Raise an error if there is any difference.

        Args:
            path (object): The file, as the error calls it.
            remedy (str): What to do.

        Raises:
            ValueError: If there is a difference.
        """
        if self:
            said = "\n  ".join(self.lines())
            raise ValueError(f"{path} does not fit the model ({self.model}):\n  {said}\n{remedy}")


def compare(
    tensors: Mapping[str, Any],
    model: torch.nn.Module,
    required: Collection[str],
    optional: Collection[str] = (),
    beside: Callable[[str], bool] = lambda name: False,
    resized: bool = True,
) -> Differences:
    """Hold the tensors of a file against a model.

    Args:
        tensors (Mapping[str, Tensor]): The file's, by the model's names.
        model (nn.Module): The model; it may be on the meta device.
        required (Collection[str]): Names of the model that the file must have.
        optional (Collection[str]): Names of the model that it may have.
        beside (Callable): Whether the file may have a name that is in neither; such a tensor is
            not looked at. By default it may not.
        resized (bool): Let position embeddings be those of another image size.

    Returns:
        Differences: What is missing, unknown, of another shape or of another kind of numbers (a
        float in half precision is a float).
    """
    own = model.state_dict()
    wanted = {*required, *optional}
    fits = has_place if resized else lambda name, shape, wanted: shape == wanted
    both = [name for name in sorted(wanted & set(tensors)) if isinstance(own[name], torch.Tensor)]
    kinds = {name: (_kind(tensors[name]), _kind(own[name])) for name in both}
    # The model's own may be on the meta device.
    odd = {name: why_unread(tensors[name]) for name in both if not why_unread(own[name])}
    kinds |= {name: (said, kinds[name][1]) for name, said in odd.items() if said}
    shapes = {
        name: (tensors[name].shape, own[name].shape)
        for name in both
        if isinstance(tensors[name], torch.Tensor)
        and not fits(name, tensors[name].shape, own[name].shape)
    }
    return Differences(
        type(model).__name__,
        missing=sorted(set(required) - set(tensors)),
        unknown=sorted(name for name in tensors if name not in wanted and not beside(name)),
        shapes=_shapes(shapes),
        kinds=[
            f"{name}: the file holds {file}, the model {ours}"
            for name, (file, ours) in kinds.items()
            if file != ours
        ],
        foreign=bool(required) and not set(required) & set(tensors),
    )


def _kind(value: Any) -> str:
    """The kind of numbers of a tensor: loading casts between kinds without a word."""
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}, no tensor"
    if value.is_complex():
        return "complex numbers"
    if value.dtype is torch.bool:
        return "truth values"
    return "floats" if value.is_floating_point() else "integers"


def _shapes(differing: dict[str, tuple[torch.Size, torch.Size]]) -> list[str]:
    """Shapes that differ in words, those of an adapter as the option that causes them."""
    options = {_option(name, *shapes): None for name, shapes in differing.items()}
    lines = [text for text in options if text is not None]
    for name, (file, own) in differing.items():
        if lines and name.startswith("adapter."):
            continue
        table = name.endswith("pos_embed") and file[-1:] == own[-1:]
        odd = table and not has_place(name, file, own)
        why = " (no square of patches and one class token)" if odd else ""
        lines.append(f"{name}: file {tuple(file)}, model {tuple(own)}{why}")
    return lines


def _option(name: str, file: torch.Size, own: torch.Size) -> str | None:
    """The option of an adapter that makes a shape differ, with both values."""
    down = ".down." in name and file[-1:] == own[-1:] and file[:1] != own[:1]
    if down and name.startswith("adapter.layers."):
        return f"adapter.bottleneck: file r={file[0]}, model r={own[0]}"
    if down and name.startswith(("adapter.kv.", "adapter.decoder_kv.")):
        return f"adapter.kv_rank: file {file[0]}, model {own[0]}"
    return None


def _some(names: Iterable[str]) -> str:
    names = list(names)
    if len(names) <= _SHOWN:
        return ", ".join(names)
    parts = sorted({name.split(".")[0] for name in names})
    more = f" and {len(names) - _SHOWN} more, of {', '.join(parts[:_SHOWN])}"
    return ", ".join(names[:_SHOWN]) + more
