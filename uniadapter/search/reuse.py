"""The part of an update that encodes nothing: files whose content the index has, and gone ones."""

from __future__ import annotations

from .plan import Moved, Plan
from .records import ShotRecord
from .writer import FileEntry, IndexWriter, ShotEntry


def reuse(writer: IndexWriter, plan: Plan) -> None:
    """Note what was moved, copied or touched, and what is gone, and make it visible.

    Args:
        writer: Of the index.
        plan: Made of the files that the writer knows.
    """
    if plan.copied:
        _copy(writer, plan.copied)
    for source, path, found in (*plan.moved, *plan.touched):
        writer.move(source.file_id, path, found.size, found.mtime_ns)
    for file in plan.gone:
        writer.mark_gone(file.file_id)
    writer.commit()


def _copy(writer: IndexWriter, copied: list[Moved]) -> None:
    shots: dict[int, list[ShotRecord]] = {}
    for shot in writer.shots():
        shots.setdefault(shot.file_id, []).append(shot)
    rows = writer.rows()
    for source, path, found in copied:
        entries = []
        for shot in shots.get(source.file_id, []):
            own = slice(shot.row, shot.row + 1)
            [row] = writer.append({name: part[own] for name, part in rows.items()})
            entries.append(ShotEntry(row, shot.start, shot.end))
        known = FileEntry(path, *found, digest=source.digest, error=source.error)
        writer.put(known, entries)
