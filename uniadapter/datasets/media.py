"""Media faults: the one error every reader raises, and where to find a file under its name."""

from __future__ import annotations

import os
from collections.abc import Sequence

VIDEO_EXTENSIONS = (
    ".mp4",
    ".avi",
    ".mov",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".m4v",
    ".wmv",
    ".3gp",
)
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

#: What can be wrong with a medium, as written in the report of ``verify_dataset.py``.
FAULT_KINDS = ("missing", "empty", "truncated", "undecodable")


class MediaError(RuntimeError):
    """A medium (video, image or folder of frames) can't be read.

    Args:
        path: The file or folder. When ``reason`` is left out, the whole message: a data loader
            rebuilds the exceptions of its workers from their message alone.
        reason: What is wrong and, where there is one, the remedy.
        kind: One of :data:`FAULT_KINDS`.
    """

    def __init__(self, path: str, reason: str = "", kind: str = "undecodable") -> None:
        super().__init__(f"{path}: {reason}" if reason else path)
        self.path = path
        self.reason = reason
        self.kind = kind

    def __reduce__(self) -> tuple[type[MediaError], tuple[str, str, str]]:
        return type(self), (self.path, self.reason, self.kind)


class MediaFolder:
    """Find media by name in one folder, whatever extension they were saved with.

    The folder is listed once, so ten thousand names cost one directory read.

    Args:
        root: Folder that holds the media.
        extensions: Extensions to try, in order of preference.

    Raises:
        FileNotFoundError: When ``root`` is not a folder.
    """

    def __init__(self, root: str, extensions: Sequence[str]) -> None:
        if not os.path.isdir(root):
            raise FileNotFoundError(
                f"data_prefix['media'] = {root!r} is not a folder. Put the media there or correct "
                "data_root / data_prefix; docs/dataset_preparation.md shows the layout."
            )
        self.root = root
        self.extensions = tuple(extensions)
        self._names = set(os.listdir(root))

    def resolve(self, name: str) -> str:
        """Return the path of the medium called ``name``.

        Tried in this order: the name as it stands (a file, or a folder of frames), the name with
        each extension added, the name with its own known extension exchanged, and the name without
        it, when that is a folder of frames.

        Args:
            name: Name in the annotation file, with or without an extension.

        Returns:
            The path. When nothing is found, the path that was expected first, so that the error
            met later on names a file the user can look for.
        """
        stem, suffix = os.path.splitext(name)
        known = suffix.lower() in VIDEO_EXTENSIONS + IMAGE_EXTENSIONS
        candidates = [name] + [name + extension for extension in self.extensions]
        if known:
            candidates += [stem + extension for extension in self.extensions]
        for candidate in candidates:
            if self._exists(candidate):
                return os.path.join(self.root, candidate)
        if known and os.path.isdir(os.path.join(self.root, stem)):
            return os.path.join(self.root, stem)
        expected = name if known or not self.extensions else name + self.extensions[0]
        return os.path.join(self.root, expected)

    def _exists(self, name: str) -> bool:
        if os.path.dirname(name):
            return os.path.exists(os.path.join(self.root, name))
        return name in self._names
