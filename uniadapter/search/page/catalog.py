"""Reads an index for the page."""

from __future__ import annotations

from pathlib import Path

from uniadapter.search.index import SearchIndex
from uniadapter.search.records import FileRecord

from .library import FileEntry, Library, ShotEntry


def version_of(index: SearchIndex) -> str:
    """The state of an index, as a text."""
    return str(index.version)


def preview_folder(index: SearchIndex) -> Path:
    """Where the previews of an index are kept."""
    return Path(index.folder) / "previews"


def library_of(index: SearchIndex) -> Library:
    """All files and shots of an index, of one state of it."""
    while True:
        version = version_of(index)
        # It may have been made anew, with other options.
        index = index.reopened()
        files = [_entry(index, file) for file in index.files()]
        shots = [ShotEntry(s.shot_id, s.file_id, s.start, s.end) for s in index.shots()]
        if version_of(index) == version:
            return Library(version, files, shots)


def _entry(index: SearchIndex, file: FileRecord) -> FileEntry:
    location = index.path_of(file.path)
    rate = index.settings.reading.frame_rate
    folder = rate is not None and file.kind == "video" and location.is_dir()
    return FileEntry(
        file_id=file.file_id,
        path=file.path,
        location=location,
        kind=file.kind,
        size=file.size,
        modified_ns=file.mtime_ns,
        content=file.digest.hex() if file.digest else f"{file.path}/{file.mtime_ns}",
        rate=rate if folder else None,
    )
