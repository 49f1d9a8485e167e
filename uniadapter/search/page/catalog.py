"""Reads an index for the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .library import FileEntry, Library, ShotEntry


def version_of(index: Any) -> str:
    """The state of an index, as a text."""
    return str(index.version)


def preview_folder(index: Any) -> Path:
    """Where the previews of an index are kept."""
    return Path(index.folder) / "previews"


def library_of(index: Any) -> Library:
    """All files and shots of an index, of one state of it."""
    root = Path(index.root)
    while True:
        version = version_of(index)
        files = [
            FileEntry(
                file_id=file.file_id,
                path=file.path,
                location=root / file.path,
                kind=file.kind,
                size=file.size,
                modified_ns=file.mtime_ns,
                content=file.digest.hex() if file.digest else f"{file.path}/{file.mtime_ns}",
            )
            for file in index.files()
        ]
        shots = [ShotEntry(s.shot_id, s.file_id, s.start, s.end) for s in index.shots()]
        if version_of(index) == version:
            return Library(version, files, shots)
