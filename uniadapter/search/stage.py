"""The first stage of an index: built anew where that is quick, else kept beside it."""

from __future__ import annotations

from .first_stage import FirstStage, choose_kind
from .index import SearchIndex
from .records import Snapshot
from .store import data_path


def first_stage_of(index: SearchIndex, snapshot: Snapshot) -> FirstStage:
    """The first stage of a snapshot, from its file where there is one.

    Raises:
        ValueError: If the features of the index are damaged.
    """
    try:
        return _first_stage(index, snapshot)
    except ValueError as error:
        raise ValueError(
            f"The index {index.folder} is damaged: {error} `uniadapter index --check` says where, "
            "--rebuild makes it anew."
        ) from error


def _first_stage(index: SearchIndex, snapshot: Snapshot) -> FirstStage:
    path = data_path(index.folder, "first_stage", snapshot.state.generation)
    if _is_exact(snapshot):
        return FirstStage.build(snapshot.features)
    try:
        stage = FirstStage.load(path, snapshot.features)
    # A file of an update that was cut off, or of a process that went on meanwhile.
    except (FileNotFoundError, ValueError):
        return FirstStage.build(snapshot.features)
    return FirstStage.build(snapshot.features) if stage.stale else stage


def keep_first_stage(index: SearchIndex, changed: bool) -> None:
    """Write the first stage of an index that is too large to build it at each start.

    Args:
        index: The index.
        changed: Whether a file of it is out of date.
    """
    snapshot = index.snapshot()
    path = data_path(index.folder, "first_stage", snapshot.state.generation)
    if not _is_exact(snapshot) and (changed or not path.is_file()):
        first_stage_of(index, snapshot).save(path)


def _is_exact(snapshot: Snapshot) -> bool:
    return choose_kind(*snapshot.features.shape) == "exact"
