"""An index out of an encoded corpus, without encoding anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from uniadapter.utils.json_files import differences

from .corpus_table import SUFFIX, Row, read_facts, read_heads, read_rows, what_counts
from .engine import SearchEngine
from .index import SearchIndex, root_of
from .plan import Plan, make_plan
from .reading import ReadOptions, digest_of
from .records import FACTS, WORDS, FileRecord, described
from .reuse import reuse
from .scan import is_elsewhere, is_uri, scan
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
    paths = _shards(folder)
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
        differ = differences(what_counts(facts), what_counts(other), WORDS)
        if differ:
            raise ValueError(
                f"{paths[0]} and {path} are of two corpora, with another {', '.join(differ)}: keep "
                "those of one."
            )
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
    date by it. It is empty until all of it is there. Files of the corpus are looked for in the
    folder as an update does it: it may have been moved, copied or renamed, and so may they. One
    that is gone, or was changed since, is not found before an update has read it.

    Args:
        corpus: Folder of the shards.
        folder: Of the index.
        engine: What the index will be searched with, and what the corpus was encoded with.
        root: The folder that has the files. None: the one around the index.
        source: Where the engine's model comes from.

    Raises:
        BlockingIOError: If another process is writing to the index.
        FileNotFoundError: If there is no shard.
        OSError: If the index can't be written to.
        ValueError: If the corpus is damaged, incomplete, was encoded with another engine, or has
            no file of the folder.
    """
    facts = corpus_facts(corpus)
    if facts["binding"] != engine.binding:
        raise ValueError(
            f"The corpus {corpus} was encoded with {described(facts['source'])}, and the model "
            f"differs from it in: {_differences(facts['binding'], engine.binding)}. Name the model "
            "that it was encoded with."
        )
    reading, top = ReadOptions(**facts["reading"]), str(root_of(folder, root))
    # Before anything is written: what is there already stays if the corpus does not fit.
    records, listed = _records(corpus, top), scan(top, reading.frame_rate is not None)

    @cache
    def digest(path: bytes) -> bytes:
        return digest_of(os.path.join(top, os.fsdecode(path)))

    _check_folder(corpus, facts, top, records, make_plan(listed, records, digest))
    index = SearchIndex.create(folder, engine, reading, root, source)
    with writing(index) as writer:
        for path in _shards(corpus):
            for entry, shots in _media(path, index, writer, top):
                writer.put(entry, shots)
        writer.commit()
        known = writer.files()
        plan = make_plan(listed, known, digest)
        changed = {path for path, _ in plan.read}
        for file in known:
            if os.fsencode(file.path) in changed:
                writer.mark_gone(file.file_id)
        reuse(writer, plan)
    keep_first_stage(index, True)
    return index


def _shards(corpus: str | Path) -> list[Path]:
    return sorted(Path(corpus).glob(f"*{SUFFIX}"))


def _records(corpus: str | Path, root: str) -> list[FileRecord]:
    """All media of a corpus as files of an index, whose numbers are of no account.

    Raises:
        ValueError: If a medium stands there twice, or its key leads out of the folder.
    """
    found: list[FileRecord] = []
    seen: dict[bytes, Path] = {}
    for shard in _shards(corpus):
        for row in read_heads(shard):
            entry = _entry(row, shard, root)
            if entry.path in seen:
                raise ValueError(
                    f"{row.key!r} stands in {seen[entry.path]} and again in {shard}: remove the "
                    "corpus and encode it anew."
                )
            seen[entry.path] = shard
            path = os.fsdecode(entry.path)
            found.append(FileRecord(len(found), path, *entry[1:], gone=False))
    return found


def _check_folder(
    corpus: str | Path, facts: Mapping[str, Any], root: str, records: list[FileRecord], plan: Plan
) -> None:
    """See that a folder has some file of a corpus.

    Raises:
        ValueError: If it has none of them, and the corpus is not all from elsewhere.
    """
    files = [file for file in records if not is_elsewhere(file.path, file.mtime_ns)]
    fit = plan.unchanged + len(plan.touched) + len(plan.moved) + len(plan.copied)
    if files and not fit:
        where = ", ".join(facts.get("sources", []))
        raise ValueError(
            f"The corpus {corpus} was encoded from {where or 'another folder'}, and none of its "
            f"{len(files)} files is in the folder {root} as it was then: name the folder that has "
            "them, which may have been moved or renamed since."
        )


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
