"""The SQLite side of an index: its tables, its transactions and what can be wrong with it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from uniadapter.utils.json_files import parse_json

from .records import FileRecord, Settings, ShotRecord, State
from .store import generations, remove_others, sync_folder

DATABASE = "index.sqlite"
SCHEMA = 1
#: Marks the database as one of an index.
APPLICATION = 0x55414458
_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE files (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, "
    "kind TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, digest BLOB, "
    "error TEXT, gone INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE shots (id INTEGER PRIMARY KEY AUTOINCREMENT, file_id INTEGER NOT NULL "
    "REFERENCES files(id), row INTEGER NOT NULL UNIQUE, start REAL NOT NULL, end REAL NOT NULL, "
    "sums BLOB)",
    "CREATE INDEX shots_of_files ON shots(file_id)",
)
_BUSY_SECONDS = 30.0


class DamagedIndexError(ValueError):
    """An index that can't be read any more, and is to be made anew."""


@contextlib.contextmanager
def connect(folder: Path, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The database of an index, for one thread; transactions begin and end by hand.

    Args:
        folder: Of the index.
        write: Whether it is made where there is none, and may be of any layout.

    Raises:
        FileNotFoundError: If there is none.
        OSError: If it can't be read or written.
        ValueError: If it is damaged, of another version of the package or of something else.
    """
    path = folder / DATABASE
    if not write and not path.is_file():
        raise FileNotFoundError(f"{folder} has no index: make one with `uniadapter index FOLDER`.")
    try:
        mode = "rwc" if write else "rw" if os.access(path, os.W_OK) else "ro"
        # What a name may hold, such as "?" and "%", would be read as part of the address.
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        database = sqlite3.connect(uri, _BUSY_SECONDS, uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise OSError(f"The index {folder} can't be opened: {error}.") from error
    try:
        # Of what was committed nothing is lost, whatever ends the process or the machine.
        database.execute("PRAGMA synchronous = FULL")
        _check_schema(database, folder, write)
        yield database
    except sqlite3.OperationalError as error:
        raise OSError(f"The index {folder}: {error}; what it had it still has.") from error
    except sqlite3.DatabaseError as error:
        raise DamagedIndexError(
            f"The index {folder} is damaged ({error}): make it anew with --rebuild."
        ) from error
    finally:
        database.close()


def _check_schema(database: sqlite3.Connection, folder: Path, write: bool) -> None:
    [application] = database.execute("PRAGMA application_id").fetchone()
    [schema] = database.execute("PRAGMA user_version").fetchone()
    [tables] = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application:
        # Its making was cut off, or is under way.
        if not write:
            raise FileNotFoundError(f"{folder} has no index yet: call `uniadapter index FOLDER`.")
    elif application != APPLICATION:
        raise ValueError(f"{folder / DATABASE} is no index of this package: name another folder.")
    elif schema != SCHEMA and not write:
        raise DamagedIndexError(
            f"The index {folder} has the layout {schema}, and this version of the package reads "
            f"{SCHEMA}: make it anew with --rebuild."
        )


def _meta(database: sqlite3.Connection, key: str, read: Callable[[str], Any]) -> Any:
    rows = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchall()
    try:
        [[value]] = rows
        return read(value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # SQLite doesn't notice changed bytes of a text.
        said = f"its {key} can't be read, {type(error).__name__}: {error}"
        raise sqlite3.DatabaseError(said) from error


def read_state(database: sqlite3.Connection) -> State:
    """What the last update left."""
    state: State = _meta(database, "state", lambda text: State(**parse_json(text)))
    return state


def write_state(database: sqlite3.Connection, state: State) -> None:
    """Leave another state, within a transaction."""
    content = json.dumps(state._asdict())
    database.execute("INSERT OR REPLACE INTO meta VALUES ('state', ?)", (content,))


def read_settings(database: sqlite3.Connection) -> Settings:
    """What the index was made with."""
    settings: Settings = _meta(database, "settings", Settings.from_json)
    return settings


def write_settings(database: sqlite3.Connection, settings: Settings) -> None:
    """Note it."""
    content = settings.to_json()
    database.execute("INSERT OR REPLACE INTO meta VALUES ('settings', ?)", (content,))


def list_files(database: sqlite3.Connection) -> list[FileRecord]:
    """All files by their paths."""
    rows = database.execute(
        "SELECT id, path, kind, size, mtime_ns, digest, error, gone FROM files ORDER BY path"
    )
    columns = ([row[0], os.fsdecode(row[1]), *row[2:7], bool(row[7])] for row in rows)
    return [FileRecord._make(column) for column in columns]


def list_shots(
    database: sqlite3.Connection, file_id: int | None = None, gone: bool = False
) -> list[ShotRecord]:
    """Shots in the order of their rows.

    Args:
        database: The database.
        file_id: Those of this file; None: of all.
        gone: Also those of files that are gone.
    """
    rows = database.execute(
        "SELECT shots.id, file_id, row, start, end FROM shots JOIN files ON files.id = file_id "
        "WHERE (? OR NOT gone) AND (? IS NULL OR file_id = ?) ORDER BY row",
        (gone, file_id, file_id),
    )
    return [ShotRecord(*row) for row in rows]


def list_sums(database: sqlite3.Connection) -> list[tuple[int, int, bytes | None]]:
    """Number of the file, row and checksums of each shot, in the order of the rows.

    Shots of an earlier version of the package have no checksums.
    """
    sums = "sums" if _has_sums(database) else "NULL"
    return database.execute(f"SELECT file_id, row, {sums} FROM shots ORDER BY row").fetchall()


def add_sums(database: sqlite3.Connection) -> None:
    """See that checksums can be noted, in an index of an earlier version, too; the lock is held."""
    if not _has_sums(database):
        database.execute("ALTER TABLE shots ADD COLUMN sums BLOB")


def _has_sums(database: sqlite3.Connection) -> bool:
    return any(column[1] == "sums" for column in database.execute("PRAGMA table_info(shots)"))


def create_tables(folder: Path, settings: Settings) -> None:
    """Make the tables anew in one transaction; the lock is held.

    Raises:
        ValueError: If the file is the database of something else.
    """
    # No state of an index that was here before has this version.
    former = State(time.time_ns(), max(generations(folder), default=0), 0)
    try:
        with connect(folder) as database:
            former = read_state(database)
    except FileNotFoundError:
        pass
    except DamagedIndexError:
        # Nothing can be told from it, and it is to be made anew; nor is a journal of it of use.
        for name in (DATABASE, f"{DATABASE}-journal", f"{DATABASE}-wal", f"{DATABASE}-shm"):
            (folder / name).unlink(missing_ok=True)
    state = State(former.version + 1, former.generation + 1, 0)
    with connect(folder, write=True) as database:
        database.execute("BEGIN IMMEDIATE")
        tables = [name for (name,) in database.execute(_OWN_TABLES)]
        last = (
            database.execute("SELECT name, seq FROM sqlite_sequence").fetchall() if tables else []
        )
        for name in tables:
            database.execute(f"DROP TABLE {name}")
        for table in _TABLES:
            database.execute(table)
        # Who still has numbers of files and shots of before must not get others by them.
        database.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", last)
        write_settings(database, settings)
        # Who reads the former files goes on doing so, and sees that there are others.
        write_state(database, state)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {SCHEMA}")
        database.execute("COMMIT")
    sync_folder(folder)
    remove_others(folder, state.generation)


# Shots refer to files, so they go first.
_OWN_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('meta', 'shots', 'files') "
    "ORDER BY name = 'files'"
)
