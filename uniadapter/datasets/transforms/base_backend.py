"""The interface of all readers of frames."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from ..media import MediaError, missing_medium


class VideoBackend(ABC):
    """Frames of one medium, opened for the length of one call.

    Args:
        path: File or folder.

    Raises:
        MediaError: When the medium is missing, empty, truncated or of another kind.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        if not os.path.exists(path):
            raise missing_medium(path)
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise MediaError(path, "the file is empty", "empty")

    @property
    def rate(self) -> float | None:
        """Frames a second that the medium says it has; None where it says nothing."""
        return None

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode the wanted frames only.

        Args:
            indices: Frame numbers in [0, len), in any order, repeats allowed.

        Returns:
            (len(indices), H, W, 3) uint8 RGB.

        Raises:
            MediaError: When one of them doesn't exist or can't be decoded.
        """

    def check_indices(self, indices: Sequence[int]) -> list[int]:
        """Return the frame numbers as a list.

        Raises:
            MediaError: When there is none, or one is outside [0, len).
        """
        numbers = [int(index) for index in indices]
        if not numbers:
            raise MediaError(self.path, "no frame was asked for")
        for number in numbers:
            if not 0 <= number < len(self):
                raise MediaError(self.path, f"frame {number}: there are {len(self)} frames")
        return numbers


class ArrayBackend(VideoBackend):
    """Frames that are decoded already.

    Args:
        frames: (N, H, W, 3) uint8 RGB, N at least 1.
        name: What to call them in errors.
        rate: Frames a second; None where nobody knows.
    """

    def __init__(self, frames: np.ndarray, name: str, rate: float | None = None) -> None:
        self.path, self._frames, self._rate = name, frames, rate

    @property
    def rate(self) -> float | None:
        """See :attr:`VideoBackend.rate`."""
        return self._rate

    def __len__(self) -> int:
        return len(self._frames)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        return self._frames[self.check_indices(indices)]


class InexactError(MediaError):
    """A reader can't promise that frame i of this file is the i-th shown; another one may."""


def error_summary(error: Exception) -> str:
    """Return the first line of an error, without the decoder's time stamp and source location."""
    # An error of the system carries its number and the path, which are in the message already.
    text = str(getattr(error, "strerror", None) or error).strip().splitlines()
    first = text[0] if text else type(error).__name__
    return first.rsplit("Check failed:", 1)[-1].strip() or type(error).__name__
