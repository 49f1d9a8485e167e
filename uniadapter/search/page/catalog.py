"""Reads an index for the page."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from uniadapter.search.index import SearchIndex
from uniadapter.search.records import FileRecord, Snapshot

from .library import FileEntry, Library, ShotEntry

logger = logging.getLogger("uniadapter.page")


def version_of(index: SearchIndex) -> str:
    """The state of an index, as a text."""
    return str(index.version)


def preview_folder(index: SearchIndex) -> tuple[Path, TemporaryDirectory[str] | None]:
    """Where the previews of an index are kept.

    Returns:
        A folder of the index; or, where nothing can be written there, a temporary one, and what
        removes it.

    Raises:
        ValueError: If no temporary one can be made either.
    """
    folder = Path(index.folder) / "previews"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder, None
    except OSError as error:
        reason = error.strerror or error
    try:
        temporary = TemporaryDirectory(prefix="uniadapter-previews-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ValueError(
            f"Previews can be written neither to {folder} ({reason}) nor to a temporary folder "
            f"({error.strerror or error}): set TMPDIR to a folder that can be written to."
        ) from error
    logger.warning("%s can't be written to (%s): previews last as long as the page", folder, reason)
    return Path(temporary.name), temporary


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


def library_at(index: SearchIndex, snapshot: Snapshot) -> Library:
    """All files and shots of a state that was read before.

    Args:
        index: The index.
        snapshot: Its state, which need not be the last one.
    """
    files = [
        _entry(index, file)
        for file in snapshot.files.values()
        if not file.gone and file.error is None
    ]
    columns = (snapshot.shot_ids, snapshot.shot_files, snapshot.starts, snapshot.ends)
    shots = zip(*(column.tolist() for column in columns), strict=True)
    return Library(str(snapshot.state.version), files, [ShotEntry(*shot) for shot in shots])


def _entry(index: SearchIndex, file: FileRecord) -> FileEntry:
    location = index.path_of(file.path)
    rate = index.settings.reading.frame_rate
    # False also where nobody may look, or the name is too long for a disk, as an address may be.
    folder = rate is not None and file.kind == "video" and os.path.isdir(location)
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
