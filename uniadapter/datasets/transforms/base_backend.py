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
            MediaError: When one of them can't be decoded.
        """


def error_summary(error: Exception) -> str:
    """Return the first line of an error, without the decoder's time stamp and source location."""
    text = str(error).strip().splitlines()
    first = text[0] if text else type(error).__name__
    return first.rsplit("Check failed:", 1)[-1].strip() or type(error).__name__
