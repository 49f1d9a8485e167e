"""Changing an index: numbers first, then the one transaction that makes them visible."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from uniadapter.utils.errors import WriteError

from .check import sums_of
from .database import (
    add_sums,
    connect,
    list_files,
    list_shots,
    read_settings,
    read_state,
    write_state,
)
from .hits import Kind
from .index import SearchIndex
from .records import FileRecord, ShotRecord, State
from .store import RowWriter, locked, map_rows, remove_others

#: Rows that are copied at once when an index is compacted.
_BLOCK = 256
_UNWRITABLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)


class FileEntry(NamedTuple):
    """A file that is put into an index.

    Attributes:
        path: Below the indexed folder, as the system has it.
        kind: Of the file.
        size: In bytes.
        mtime_ns: Its time of change.
        digest: Of its content, see :func:`uniadapter.search.reading.digest_of`; None: unknown.
        error: Why it can't be read; None where it can.
    """

    path: bytes
    kind: Kind
    size: int
    mtime_ns: int
    digest: bytes | None = None
    error: str | None = None


class ShotEntry(NamedTuple):
    """A shot that is put into an index.

    Attributes:
        row: Of its numbers, from :meth:`IndexWriter.append`.
        start: Where it begins, in seconds from the file's first frame.
        end: Where it ends.
    """

    row: int
    start: float
    end: float


class IndexWriter:
    """What the one process may do that :func:`writing` lets write.

    Nothing is seen by others before :meth:`commit`, and all since the last one is lost with the
    process; the index is whole at any moment.

    Attributes:
        index: The index.
        state: As of the last commit.
    """

    def __init__(self, index: SearchIndex, database: sqlite3.Connection) -> None:
        self.index, self._database = index, database
        self.state = read_state(database)
        layout, folder = index.settings.layout, index.folder
        # Of a compaction that was cut off.
        remove_others(folder, self.state.generation)
        add_sums(database)
        self._rows = RowWriter(folder, layout, self.state.generation, self.state.rows)
        self._sums: dict[int, bytes] = {}
        self._staged: list[tuple[str, tuple]] = []
        self._visible = self.state.rows

    def files(self) -> list[FileRecord]:
        """All files as of the last commit."""
        return list_files(self._database)

    def shots(self) -> list[ShotRecord]:
        """All shots as of the last commit, those of files that are gone too."""
        return list_shots(self._database, gone=True)

    def rows(self) -> dict[str, np.ndarray]:
        """The numbers as of the last commit."""
        layout, state = self.index.settings.layout, self.state
        return map_rows(self.index.folder, layout, state.generation, state.rows)

    def append(self, rows: Mapping[str, np.ndarray]) -> range:
        """Append the numbers of B shots, of :meth:`Layout.rows_of`; gives their rows."""
        made = self._rows.append(rows)
        self._sums.update(zip(made, sums_of(self.index.settings.layout, rows), strict=True))
        return made

    def put(self, file: FileEntry, shots: Sequence[ShotEntry]) -> None:
        """Put a file in, in the place of what the index has of its path."""
        self._stage(
            "INSERT INTO files (path, kind, size, mtime_ns, digest, error) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET kind = excluded.kind, "
            "size = excluded.size, mtime_ns = excluded.mtime_ns, digest = excluded.digest, "
            "error = excluded.error, gone = 0",
            *file,
        )
        self._stage(
            "DELETE FROM shots WHERE file_id = (SELECT id FROM files WHERE path = ?)", file.path
        )
        for shot in shots:
            self._stage(
                "INSERT INTO shots (file_id, row, start, end, sums) "
                "VALUES ((SELECT id FROM files WHERE path = ?), ?, ?, ?, ?)",
                file.path,
                *shot,
                self._sums.pop(shot.row),
            )
            self._visible = max(self._visible, shot.row + 1)

    def move(self, file_id: int, path: bytes, size: int, mtime_ns: int) -> None:
        """A file with this very content is at a path now, which no other file of the index has."""
        self._stage(
            "UPDATE files SET path = ?, size = ?, mtime_ns = ?, gone = 0 WHERE id = ?",
            path,
            size,
            mtime_ns,
            file_id,
        )

    def mark_gone(self, file_id: int) -> None:
        """A file is not there any more."""
        self._stage("UPDATE files SET gone = 1 WHERE id = ?", file_id)

    def _stage(self, statement: str, *values: object) -> None:
        self._staged.append((statement, values))

    def commit(self) -> None:
        """Make visible what was put in since the last time."""
        if not self._staged:
            return
        self._rows.sync()
        generation, version = self.state.generation, self.state.version + 1
        self._write(State(version, generation, self._visible))

    def _write(self, state: State) -> None:
        """Run what is staged, and leave a state, in one transaction."""
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        for statement, values in self._staged:
            database.execute(statement, values)
        write_state(database, state)
        database.execute("COMMIT")
        self.state, self._staged = state, []

    def compact(self) -> None:
        """Drop the numbers that no shot has any more, and the files that are gone.

        Raises:
            OSError: If the disk has no room for the numbers that stay, beside the former ones.
        """
        self.commit()
        layout, folder = self.index.settings.layout, self.index.folder
        live = list_shots(self._database)
        kept, former = np.array([shot.row for shot in live], np.int64), self.rows()
        generation = self.state.generation + 1
        writer = RowWriter(folder, layout, generation, 0)
        try:
            for start in range(0, len(kept), _BLOCK):
                block = kept[start : start + _BLOCK]
                writer.append({name: rows[block] for name, rows in former.items()})
            writer.sync()
        except BaseException:
            writer.close()
            remove_others(folder, self.state.generation)
            raise
        self._stage("DELETE FROM shots WHERE file_id IN (SELECT id FROM files WHERE gone)")
        self._stage("DELETE FROM files WHERE gone")
        # Ascending, and none goes up: no two shots ever have the same row.
        for row, shot in enumerate(live):
            self._stage("UPDATE shots SET row = ? WHERE id = ?", row, shot.shot_id)
        self._rows.close()
        self._rows, self._visible = writer, len(kept)
        self._write(State(self.state.version + 1, generation, len(kept)))
        remove_others(folder, generation)

    def close(self) -> None:
        """Let go of the files; what was not committed is lost."""
        self._rows.close()


def _check_settings(index: SearchIndex, database: sqlite3.Connection) -> None:
    """Refuse an index that another process made anew since it was opened."""
    own, now = index.settings, read_settings(database)
    if (own.binding, own.layout, own.reading) != (now.binding, now.layout, now.reading):
        raise ValueError(
            f"The index {index.folder} was made anew by another process meanwhile: call again."
        )


@contextlib.contextmanager
def writing(index: SearchIndex) -> Iterator[IndexWriter]:
    """Be the one process that changes an index.

    Raises:
        BlockingIOError: If another one does.
        OSError: If the index can't be written to, or the disk is full.
        ValueError: If the index is damaged, or was made anew with other options since.
    """
    folder = index.folder
    try:
        with locked(folder), connect(folder, write=True) as database:
            _check_settings(index, database)
            writer = IndexWriter(index, database)
            try:
                yield writer
            finally:
                writer.close()
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        reason = getattr(error.__cause__ or error, "strerror", None) or error
        refused = WriteError(
            f"The index {folder} can't be written to: {reason}; it has what was committed, and "
            "goes on from there when called again."
        )
        refused.errno = error.errno
        raise refused from error
