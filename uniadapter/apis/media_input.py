"""What a picture or a video may be handed over as, and its pixels; :mod:`.inputs` has the list."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms import ImageBackend, picture_of

#: A picture or a video, or many.
Medium: TypeAlias = Any


def parts_of(medium: Medium, dims: int) -> list[Any] | None:
    """What many media consist of; None of one of ``dims`` dimensions."""
    if isinstance(medium, (list, tuple)):
        return list(medium)
    if isinstance(medium, (np.ndarray, Tensor)) and medium.ndim == dims + 1:
        return list(medium)
    return None


def pixels_of(image: Medium) -> np.ndarray:
    """(H, W, 3) uint8 of one picture.

    Raises:
        MediaError: If it can't be read.
        ValueError: If it is none.
    """
    if isinstance(image, (str, Path)):
        return ImageBackend(local_path(image)).get_frames([0])[0]
    content = content_of(image)
    name = name_of(image)
    if content is not None:
        return read_as_file(content, name, lambda path: ImageBackend(path).get_frames([0])[0])
    if isinstance(image, Image.Image):
        return picture_of(image)
    array = array_of(image)
    if array is None:
        raise ValueError(
            f"A picture is a path, bytes, a file object, Pillow's picture, an array (H, W, 3) or a "
            f"tensor (3, H, W), got {type(image).__name__}."
        )
    if array.ndim == 2 or array.shape[2:] in ((1,), (4,)):
        _check_bytes(array, name)
        return picture_of(Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array))
    return colours(array[None] if array.ndim == 3 else array, name)[0]


def array_of(medium: Medium) -> np.ndarray | None:
    """An array or tensor with its channels last; None of anything else."""
    if isinstance(medium, np.ndarray):
        return medium
    if isinstance(medium, Tensor):
        array = medium.detach().cpu()
        return (array.movedim(-3, -1) if array.ndim >= 3 else array).contiguous().numpy()
    return None


def colours(array: np.ndarray, name: str) -> np.ndarray:
    """Frames (N, H, W, 3), checked.

    Raises:
        ValueError: If they are anything else.
    """
    _check_bytes(array, name)
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(
            f"{name}: arrays have their channels last, (H, W, 3) or (N, H, W, 3), tensors first, "
            "(3, H, W) or (N, 3, H, W); none is empty."
        )
    return array


def _check_bytes(array: np.ndarray, name: str) -> None:
    if array.dtype != np.uint8:
        raise ValueError(
            f"{name}: pixels are uint8, 0 to 255; bring others to it first, such as "
            "(x * 255).round() of those from 0 to 1."
        )


def same_size(frames: list[np.ndarray]) -> np.ndarray:
    """One array of frames (H, W, 3).

    Raises:
        ValueError: If they differ in size, or there is none.
    """
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1:
        raise ValueError(
            f"The frames of a video are of one size and at least one, got {sorted(shapes)}."
        )
    return np.stack(frames)


def local_path(path: str | Path) -> str:
    """A path as it is.

    Raises:
        ValueError: If it is an address of the net.
    """
    if str(path).startswith(("http://", "https://", "ftp://", "s3://", "gs://")):
        raise ValueError(f"{path}: addresses are not fetched; give a file or its bytes.")
    return str(path)


def content_of(medium: Medium) -> bytes | memoryview | None:
    """The content of a file that was handed over; None of anything else.

    Raises:
        ValueError: If it was opened as a text.
    """
    if isinstance(medium, (bytes, bytearray, memoryview)):
        return memoryview(medium)
    if not hasattr(medium, "read") or isinstance(medium, Image.Image):
        return None
    content = medium.read()
    if isinstance(content, str):
        raise ValueError(f"{name_of(medium)} was opened as a text: open it with 'rb'.")
    if not content:
        remedy = "the file is empty, or was read before: seek(0)"
        raise MediaError(name_of(medium), remedy, "empty")
    return content


def read_as_file(content: bytes | memoryview, name: str, read: Callable[[str], Any]) -> Any:
    """Read a medium by its content; errors call it by its name."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            return read(file.name)
        except MediaError as error:
            raise MediaError(name, error.reason, error.kind) from error


def name_of(medium: Medium) -> str:
    """What to call a medium in errors."""
    if isinstance(medium, (str, Path)):
        return str(medium)
    if isinstance(medium, (np.ndarray, Tensor)):
        kind = "array" if isinstance(medium, np.ndarray) else "tensor"
        return f"<{kind} {tuple(medium.shape)} of {medium.dtype}>"
    if isinstance(medium, (bytes, bytearray, memoryview)):
        return f"<{len(medium)} bytes>"
    name = getattr(medium, "filename", None) or getattr(medium, "name", None)
    return str(name) if isinstance(name, str) and name else f"<{type(medium).__name__}>"
