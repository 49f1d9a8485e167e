"""An index on disk: files and shots in SQLite, their numbers in files that are mapped."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from uniadapter.utils.errors import WriteError

from .database import (
    DATABASE,
    connect,
    create_tables,
    list_files,
    list_shots,
    read_settings,
    read_state,
    write_settings,
)
from .engine import SearchEngine
from .reading import ReadOptions
from .records import FACTS, FileRecord, Settings, ShotRecord, Snapshot, State, described
from .store import locked, map_rows

#: Folder of the index of a folder, unless another one is named.
DEFAULT_NAME = ".uniadapter"


class SearchIndex:
    """An index in a folder; any number of processes read it while one writes.

    Make one with :meth:`open` or :meth:`create`.

    Attributes:
        folder: Where it is.
        settings: What it was made with.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings

    @classmethod
    def open(cls, folder: str | Path) -> SearchIndex:
        """Open an index.

        Args:
            folder: Its folder, or the folder that it is of.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged, or of another version of the package.
        """
        place = find_index(folder)
        if place is None:
            raise FileNotFoundError(
                f"{folder} has no index: make one with `uniadapter index FOLDER`, and name it with "
                "--index where it is not in the folder itself."
            )
        with connect(place) as database:
            settings = read_settings(database)
        return cls(place, settings)

    def reopened(self) -> SearchIndex:
        """The index that its folder has now, see :meth:`open`."""
        return type(self).open(self.folder)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        engine: SearchEngine,
        reading: ReadOptions | None = None,
        root: str | Path | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> SearchIndex:
        """Make an empty index, in the place of one that is there.

        Args:
            folder: Where to.
            engine: What media are encoded with.
            reading: How files become shots.
            root: The folder that is indexed. None: the one around the index.
            source: Where the engine's model comes from.

        Raises:
            BlockingIOError: If another process is writing to it.
            OSError: If the folder can't be written to.
        """
        place = Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(place, error) from error
        known = _relative_root(place, place.parent if root is None else Path(root))
        settings = Settings.of(engine, reading or ReadOptions(), known, source)
        with locked(place):
            create_tables(place, settings)
        return cls(place, settings)

    def remember(self, root: str | Path, source: Mapping[str, Any]) -> None:
        """Note where folder and model are now.

        Args:
            root: The folder that is indexed.
            source: Where the model, which is the same, comes from.

        Raises:
            ValueError: If it is another folder, while the former one is still there.
        """
        known = _relative_root(self.folder, Path(root))
        if known != self.settings.root and self.root.is_dir() and not self.root.samefile(root):
            raise ValueError(
                f"The index {self.folder} is of the folder {self.root}, not of {root}: name "
                "another one with --index, or make it anew with --rebuild."
            )
        settings = replace(self.settings, root=known, source=dict(source))
        if settings == self.settings:
            return
        with locked(self.folder), connect(self.folder) as database:
            write_settings(database, settings)
        self.settings = settings

    @property
    def root(self) -> Path:
        """The folder that is indexed."""
        return _absolute(self.folder, self.settings.root)

    def path_of(self, path: str) -> Path:
        """The file itself, of a path below the folder."""
        return self.root / path

    @property
    def version(self) -> int:
        """Number of the last update; it changes with each that changed anything."""
        return self.state().version

    def state(self) -> State:
        """What the last update left."""
        with connect(self.folder) as database:
            return read_state(database)

    def files(self, everything: bool = False) -> list[FileRecord]:
        """The files that can be found, by their paths.

        Args:
            everything: Also those that could not be read, and those that are gone.
        """
        with connect(self.folder) as database:
            found = list_files(database)
        return [file for file in found if everything or (not file.gone and file.error is None)]

    def shots(self, file_id: int | None = None) -> list[ShotRecord]:
        """All shots that can be found, or those of one file, in the order of their rows."""
        with connect(self.folder) as database:
            return list_shots(database, file_id)

    def features(self) -> np.ndarray:
        """(R, E) float32 features by row; some rows may be no shot's."""
        return self.snapshot().features

    def tokens(self, shot_ids: Sequence[int]) -> np.ndarray:
        """(B, N, M, D) float16 tokens of shots.

        Raises:
            KeyError: If there is no such shot.
            ValueError: If the index keeps no tokens.
        """
        if self.settings.layout.token_shape is None:
            raise ValueError(f"The index {self.folder} keeps no tokens (--no-tokens).")
        snapshot = self.snapshot()
        rows = dict(zip(snapshot.shot_ids.tolist(), snapshot.shot_rows.tolist(), strict=True))
        return np.asarray(snapshot.maps["tokens"][[rows[shot] for shot in shot_ids]])

    def snapshot(self) -> Snapshot:
        """The index as it is now.

        Raises:
            ValueError: If a file of numbers is damaged.
        """
        with connect(self.folder) as database:
            # One state for all that is read, the names of files included.
            database.execute("BEGIN")
            state = read_state(database)
            shots = list_shots(database)
            layout = self.settings.layout
            maps = map_rows(self.folder, layout, state.generation, state.rows)
            files = {file.file_id: file for file in list_files(database)}
        # No number of a shot is so large that a float would round it.
        table = np.array(shots, np.float64).reshape(-1, len(ShotRecord._fields)).T
        ids, of_files, rows = (column.astype(np.int64) for column in table[:3])
        return Snapshot(state, layout, files, ids, of_files, rows, table[3], table[4], maps)

    def check(self, engine: SearchEngine, name: str = "the model") -> None:
        """Refuse an engine that the index was not made with.

        Args:
            engine: The engine.
            name: What to call it.

        Raises:
            ValueError: If it is another one; the error says in what it differs.
        """
        made, given = self.settings.binding, engine.binding
        differs = sorted(key for key in {*made, *given} if made.get(key) != given.get(key))
        if differs:
            raise ValueError(
                f"The index {self.folder} was made with {described(self.settings.source)}, and "
                f"{name} differs from it in: {', '.join(FACTS.get(key, key) for key in differs)}. "
                "Search with what it was made with, or make it anew with --rebuild."
            )


def find_index(folder: str | Path) -> Path | None:
    """The index that a folder is, or has; None without."""
    places = (Path(folder), Path(folder) / DEFAULT_NAME)
    return next((place for place in places if (place / DATABASE).is_file()), None)


def root_of(folder: str | Path, root: str | Path | None = None) -> Path:
    """The folder that an index would be of, see :meth:`SearchIndex.create`."""
    place = Path(folder)
    return _absolute(place, _relative_root(place, place.parent if root is None else Path(root)))


def _absolute(folder: Path, root: str) -> Path:
    return Path(os.path.normpath(folder.absolute() / root))


def _relative_root(folder: Path, root: Path) -> str:
    """The folder that is indexed, as it is written."""
    place, top = folder.absolute(), root.absolute()
    real_place, real_top = Path(os.path.realpath(place)), Path(os.path.realpath(top))
    # Both can be moved together then.
    if real_top in real_place.parents:
        return os.path.relpath(real_top, real_place)
    return str(real_top)
