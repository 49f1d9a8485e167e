"""Media faults: the one error every reader raises, and where to find a file under its name."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

#: Extensions of videos, in order of preference; in files letter case doesn't count.
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
    ".3g2",
    ".flv",
    ".ts",
    ".mts",
    ".m2ts",
    ".ogv",
    ".vob",
    ".gif",
)
#: Extensions of pictures. A GIF is in both lists: it may have one frame or many.
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jfif", ".gif")
#: Pictures that can't be a video.
STILL_EXTENSIONS = tuple(kind for kind in IMAGE_EXTENSIONS if kind not in VIDEO_EXTENSIONS)

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


def missing_medium(path: str) -> MediaError:
    """Return the error for a medium that isn't there, with the file that comes nearest.

    Args:
        path: The file or folder that was looked for.
    """
    folder, name = os.path.split(path)
    folder = folder or "."
    reason = "does not exist"
    if os.path.islink(path):
        return MediaError(path, f"is a link to {os.readlink(path)}, which {reason}", "missing")
    try:
        names = _by_rough_name(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        reason += f"; nor does its folder {folder}" if not os.path.isdir(folder) else ""
        return MediaError(path, reason, "missing")
    stem = os.path.splitext(name)[0]
    near = names.get(_rough(name)) or names.get(_rough(stem)) or []
    if near:
        reason += (
            f", but {' and '.join(map(repr, near[:3]))} in its folder: rename it, name it so in "
            "the annotations, or add its extension to the dataset's 'extensions'"
        )
    return MediaError(path, reason, "missing")


def _rough(name: str) -> str:
    """A name without what people mistake: letter case, forms of one letter, blanks at the ends."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


# A data loader's worker may meet many missing files of one folder. Its time of change tells when
# what is remembered is out of date.
@lru_cache(maxsize=2)
def _by_rough_name(folder: str, changed: int) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        for rough in {_rough(name), _rough(os.path.splitext(name)[0])}:
            names.setdefault(rough, []).append(name)
    return names


def _alike(name: str) -> str:
    """A name in composed letters, its extension in small ones."""
    stem, suffix = os.path.splitext(name)
    return unicodedata.normalize("NFC", stem) + suffix.lower()


class _Listing:
    """The names in one folder, read once.

    Args:
        path: The folder; none has no names.
    """

    def __init__(self, path: str) -> None:
        self.names = set(os.listdir(path)) if os.path.isdir(path) else set()
        self._alike: dict[str, list[str]] | None = None

    def alike(self, name: str) -> list[str]:
        """Names that differ in the letter case of the extension or in how letters are composed.

        Those that differ in the extension alone come without the others.
        """
        if self._alike is None:
            self._alike = {}
            for other in sorted(self.names):
                self._alike.setdefault(_alike(other), []).append(other)
        found = self._alike.get(_alike(name), [])
        if len(found) < 2:
            return found
        stem = os.path.splitext(name)[0]
        return [other for other in found if os.path.splitext(other)[0] == stem] or found


class MediaFolder:
    """Find media by name in one folder, whatever extension they were saved with.

    A folder is listed once, at the first name looked for in it, so ten thousand names cost one
    directory read. Files that come later are not seen by this object.

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
        self._folders: dict[str, tuple[str, _Listing]] = {"": ("", _Listing(root))}

    def resolve(self, name: str) -> str:
        """Return the path of the medium called ``name``.

        Tried in this order, the first that is there being taken: the name as it stands (a file, or
        a folder of frames); the name with each extension added; the name with its own known
        extension exchanged for each of them; the name without it. Each step looks for the exact
        names first, and then for such as differ from them in the letter case of the extension
        (``.MOV``), or else in whether letters and their accents are one character or two.

        Args:
            name: Name in the annotation file, with or without an extension, ``/`` between folders.

        Returns:
            The path. When nothing is found, the path that was expected first, so that the error
            met later on names a file the user can look for.

        Raises:
            ValueError: When several files fit equally well, or no file can have the name.
        """
        if "\0" in name:
            raise ValueError(f"{self.root}: {name!r} of the annotations is no name of a file.")
        folder, base = os.path.split(name.rstrip("/") or name)
        stem, suffix = os.path.splitext(base)
        known = suffix.lower() in VIDEO_EXTENSIONS + IMAGE_EXTENSIONS
        steps: list[list[str]] = [[base], [base + extension for extension in self.extensions]]
        if known:
            steps += [[stem + extension for extension in self.extensions], [stem]]
        actual, listing = self._folder(folder)
        for candidates in steps:
            found = _find(listing, candidates, os.path.join(self.root, actual), name)
            if found is not None:
                return os.path.join(self.root, actual, found)
        expected = name if known or not self.extensions else name + self.extensions[0]
        return os.path.join(self.root, expected)

    def _folder(self, name: str) -> tuple[str, _Listing]:
        """The folder of this name below the root, under its name on the disk, and what it holds."""
        if name not in self._folders:
            actual = name
            parent, last = os.path.split(name)
            # The parent of '/' is '/'.
            if parent != name and not os.path.isdir(os.path.join(self.root, name)):
                above, listing = self._folder(parent)
                found = _find(listing, [last], os.path.join(self.root, above), name)
                actual = name if found is None else os.path.join(above, found)
            self._folders[name] = actual, _Listing(os.path.join(self.root, actual))
        return self._folders[name]


def _find(listing: _Listing, names: Sequence[str], folder: str, wanted: str) -> str | None:
    """The first of some names that is in a folder, else the first that is alike."""
    exact = next((name for name in names if name in listing.names), None)
    if exact is not None:
        return exact
    for name in names:
        found = listing.alike(name)
        if len(found) > 1:
            raise ValueError(
                f"{folder}: {wanted!r} of the annotations could be {' or '.join(map(ascii, found))}"
                ": remove or rename one, or write the whole name in the annotations."
            )
        if found:
            return found[0]
    return None
