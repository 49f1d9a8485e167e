"""Readers of frames behind one small interface: video files, folders of frames, single images."""

from __future__ import annotations

import os

from .base_backend import VideoBackend
from .pictures import FramesBackend, ImageBackend, is_picture
from .pyav import AvBackend
from .video_files import DecordBackend

BACKENDS: dict[str, type[VideoBackend]] = {
    "decord": DecordBackend,
    "av": AvBackend,
    "frames": FramesBackend,
    "image": ImageBackend,
}


def open_media(path: str, backend: str = "auto") -> VideoBackend:
    """Open a medium.

    Args:
        path: File or folder.
        backend: A key of :data:`BACKENDS`, or ``'auto'``: a folder is a folder of frames, a file
            with the extension of a picture an image, a file with an unknown one or none what its
            first bytes say, and all else a video, read by ``'av'``.

    Raises:
        MediaError: When it can't be opened.
        ValueError: For an unknown backend.
    """
    if backend == "auto":
        if os.path.isdir(path):
            backend = "frames"
        else:
            backend = "image" if is_picture(path) else "av"
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {list(BACKENDS)}, got {backend!r}.")
    return BACKENDS[backend](path)
