"""Finding damage that a disk did to an index: checksums of the numbers of each shot."""

from __future__ import annotations

import struct
import zlib
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .database import DamagedIndexError, connect, list_files, list_sums, read_state
from .index import SearchIndex
from .store import Layout, data_path, map_rows


class Checked(NamedTuple):
    """What was compared.

    Attributes:
        shots: How many shots are as they were written.
        unknown: How many have no checksum: an earlier version of the package wrote them.
    """

    shots: int
    unknown: int


def sums_of(layout: Layout, rows: Mapping[str, np.ndarray]) -> list[bytes]:
    """Checksums of the numbers of B shots.

    Args:
        layout: Of the numbers.
        rows: (B, ...) of each file.

    Returns:
        Of each shot a CRC-32 for each file of the layout, in its order, four bytes little-endian.
    """
    known = []
    for name, (_, dtype) in layout.files().items():
        known.append([zlib.crc32(row) for row in np.ascontiguousarray(rows[name], dtype)])
    return [struct.pack(f"<{len(sums)}I", *sums) for sums in zip(*known, strict=True)]


def check_index(index: SearchIndex) -> Checked:
    """Read all of an index and compare it with its checksums; a search never does it.

    Args:
        index: The index; others may read and write it meanwhile.

    Raises:
        DamagedIndexError: If something is not as it was written; the error names the file.
        ValueError: If a file is gone or too short.
    """
    layout = index.settings.layout
    with connect(index.folder) as database:
        database.execute("BEGIN")
        [[said]] = database.execute("PRAGMA integrity_check(1)").fetchall()
        if said != "ok":
            raise DamagedIndexError(
                f"The database of the index {index.folder} is damaged ({said}): make it anew with "
                "--rebuild."
            )
        state = read_state(database)
        shots = list_sums(database)
        paths = {file.file_id: file.path for file in list_files(database)}
        maps = map_rows(index.folder, layout, state.generation, state.rows)
    damaged: dict[str, list[str]] = defaultdict(list)
    unknown = 0
    for file_id, row, sums in shots:
        if sums is None:
            unknown += 1
            continue
        [found] = sums_of(layout, {name: rows[row : row + 1] for name, rows in maps.items()})
        for place, name in enumerate(maps):
            own = slice(4 * place, 4 * place + 4)
            if found[own] != sums[own]:
                damaged[name].append(paths[file_id])
    if damaged:
        places = [
            f"{data_path(index.folder, name, state.generation)} (shots: {len(of)}, the first of "
            f"{of[0]})"
            for name, of in damaged.items()
        ]
        raise DamagedIndexError(
            f"These files are not as they were written: {', '.join(places)}. Make the index anew "
            "with --rebuild."
        )
    return Checked(len(shots) - unknown, unknown)
