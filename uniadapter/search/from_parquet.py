"""An index out of an encoded corpus, without encoding anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from .corpus_items import is_uri
from .corpus_table import SUFFIX, Row, read_facts, read_rows
from .engine import SearchEngine
from .index import SearchIndex
from .reading import ReadOptions
from .records import FACTS, described
from .stage import keep_first_stage
from .writer import FileEntry, IndexWriter, ShotEntry, writing


def corpus_facts(folder: str | Path) -> dict[str, Any]:
    """What a corpus was encoded with.

    Args:
        folder: Of its shards.

    Raises:
        FileNotFoundError: If there is no shard.
        ValueError: If a shard is damaged, is of another corpus or model than the others, or some
            are missing.
    """
    paths = sorted(Path(folder).glob(f"*{SUFFIX}"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no shard *{SUFFIX}: `uniadapter encode` makes them.")
    facts = read_facts(paths[0])
    for path in paths[1:]:
        other = read_facts(path)
        if other["binding"] != facts["binding"]:
            raise ValueError(
                f"{paths[0]} was encoded with {described(facts['source'])}, and {path} with "
                f"{described(other['source'])}: they differ in "
                f"{_differences(facts['binding'], other['binding'])}. Keep those of one model."
            )
        if {**other, "source": None} != {**facts, "source": None}:
            raise ValueError(f"{paths[0]} and {path} are of two corpora: keep those of one.")
    if len(paths) != facts["shards"]:
        raise ValueError(
            f"{folder} has {len(paths)} of {facts['shards']} shards: call `uniadapter encode` "
            "again, which makes those that are missing."
        )
    return facts


def _differences(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    keys = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
    return ", ".join(FACTS.get(key, key) for key in keys)


def index_from_parquet(
    corpus: str | Path,
    folder: str | Path,
    engine: SearchEngine,
    root: str | Path | None = None,
    source: Mapping[str, Any] | None = None,
) -> SearchIndex:
    """Make an index of an encoded corpus, in the place of one that is there.

    The index is as ``uniadapter index`` would have made it of the same folder, and is kept up to
    date by it. It is empty until all of it is there.

    Args:
        corpus: Folder of the shards.
        folder: Of the index.
        engine: What the index will be searched with, and what the corpus was encoded with.
        root: The folder that the keys are paths below. None: the one around the index.
        source: Where the engine's model comes from.

    Raises:
        BlockingIOError: If another process is writing to the index.
        FileNotFoundError: If there is no shard.
        OSError: If the index can't be written to.
        ValueError: If the corpus is damaged, incomplete, or was encoded with another engine.
    """
    facts = corpus_facts(corpus)
    if facts["binding"] != engine.binding:
        raise ValueError(
            f"The corpus {corpus} was encoded with {described(facts['source'])}, and the model "
            f"differs from it in: {_differences(facts['binding'], engine.binding)}. Name the model "
            "that it was encoded with."
        )
    index = SearchIndex.create(folder, engine, ReadOptions(**facts["reading"]), root, source)
    top = os.path.abspath(index.root)
    seen: dict[str, Path] = {}
    with writing(index) as writer:
        for path in sorted(Path(corpus).glob(f"*{SUFFIX}")):
            for entry, shots in _media(path, index, writer, top):
                name = os.fsdecode(entry.path)
                if name in seen:
                    raise ValueError(
                        f"{name!r} stands in {seen[name]} and again in {path}: remove the corpus "
                        "and encode it anew."
                    )
                seen[name] = path
                writer.put(entry, shots)
        writer.commit()
    keep_first_stage(index, True)
    return index


def _media(
    path: Path, index: SearchIndex, writer: IndexWriter, root: str
) -> Iterator[tuple[FileEntry, list[ShotEntry]]]:
    """The media of a shard, whose rows stand together, when their numbers are in the index."""
    entry: FileEntry | None = None
    key, shots = "", list[ShotEntry]()
    for rows in read_rows(path, index.settings.layout):
        for row in rows:
            if entry is None or row.key != key:
                if entry is not None:
                    yield entry, shots
                entry, key, shots = _entry(row, path, root), row.key, []
            if row.numbers is not None:
                [place] = writer.append({name: own[None] for name, own in row.numbers.items()})
                shots.append(ShotEntry(place, row.start, row.end))
    if entry is not None:
        yield entry, shots


def _entry(row: Row, path: Path, root: str) -> FileEntry:
    """A medium as the index knows files.

    Raises:
        ValueError: If its key leads out of the folder: the page would serve what it leads to.
    """
    key = row.key
    if os.path.isabs(key) and key.startswith(os.path.join(root, "")):
        key = os.path.relpath(key, root)
    if not is_uri(key) and (os.path.isabs(key) or ".." in PurePosixPath(key).parts):
        raise ValueError(
            f"{path}: {key!r} lies outside of the folder {root} that is indexed: name one that has "
            "all files of the corpus."
        )
    return FileEntry(os.fsencode(key), row.kind, row.size, row.mtime_ns, row.digest, row.error)
