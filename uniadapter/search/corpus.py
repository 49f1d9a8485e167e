"""Encoding a corpus to Parquet: one callable for one process, for torchrun and for Ray Data."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uniadapter.apis.extraction.options import check_facts
from uniadapter.utils.processes import Died, stream_in_processes

from .corpus_items import (
    BadTarError,
    FetchError,
    Item,
    ItemEnd,
    check_backend,
    local_file,
    read_item,
    tar_items,
)
from .corpus_table import SUFFIX, Row, load_parquet, read_errors, what_counts, writing_shard
from .engine import SearchEngine
from .reading import ReadOptions, ReadShot
from .records import WORDS, Settings
from .update import FileEnd

#: Says of what and how the shards of a folder are made.
MANIFEST = "corpus.json"


@dataclass(frozen=True)
class CorpusOptions:
    """Options of encoding a corpus; all of them can be pickled.

    Attributes:
        out: Folder to write to.
        units: How many pieces of work there are.
        items: Digest of the pieces, see :func:`digest_of_units`.
        reading: How files become shots.
        batch_size: Shots encoded at once.
        workers: Processes that read files; 0: the process itself does.
        backend_args: Of MMEngine's fileio, for all files; None: by their names.
        source: Where the engine's model comes from, plain.
        sources: Where the media are now, for messages.
    """

    out: str
    units: int
    items: str
    reading: ReadOptions = field(default_factory=ReadOptions)
    batch_size: int = 8
    workers: int = 0
    backend_args: Mapping[str, Any] | None = None
    source: Mapping[str, Any] | None = None
    sources: tuple[str, ...] = ()


def digest_of_units(units: Sequence[str]) -> str:
    """Digest of all pieces of work: which media are in which shard, wherever they lie now."""
    digest = hashlib.sha256()
    for unit in map(json.loads, units):
        keys = [item[:2] for item in unit["items"]] if "items" in unit else unit["tar"][:1]
        digest.update(json.dumps(keys).encode() + b"\n")
    return f"{len(units)}, sha256 {digest.hexdigest()}"


@dataclass
class _Pending:
    """An item whose shots are being read and encoded."""

    item: Item
    shots: list[ReadShot] = field(default_factory=list)
    rows: list[Mapping[str, np.ndarray]] = field(default_factory=list)
    end: ItemEnd | None = None

    @property
    def done(self) -> bool:
        return self.end is not None and len(self.rows) == len(self.shots)


class CorpusEncoder:
    """Encodes pieces of a corpus, see :func:`~uniadapter.search.corpus_items.find_units`.

    It is what torchrun's processes loop with, and an actor of Ray Data::

        ray.data.from_items([{"unit": unit} for unit in units]).map_batches(
            CorpusEncoder, fn_constructor_args=(options, make_engine), batch_size=1, concurrency=8)

    A piece becomes a shard, which appears under its name when it is whole. Shots are put together
    to batches within their piece, in order, so that a shard is the same whoever makes it. The rows
    of one file are held in memory until it has been read to its end.

    Args:
        options: Of the encoding.
        make_engine: Makes the engine; it can be pickled.

    Raises:
        ImportError: If pyarrow is not installed, or what a backend needs.
        ValueError: If the folder's shards were made otherwise, or there is no such backend.
    """

    def __init__(self, options: CorpusOptions, make_engine: Callable[[], SearchEngine]) -> None:
        load_parquet()
        check_backend(options.backend_args)
        self.options, self.engine = options, make_engine()
        settings = Settings.of(self.engine, options.reading, "", options.source)
        self.layout = settings.layout
        self.facts = {
            "binding": dict(settings.binding),
            "layout": asdict(settings.layout),
            "reading": asdict(options.reading),
            "source": dict(settings.source),
            "shards": options.units,
            "items": options.items,
            "batch_size": options.batch_size,
            "sources": list(options.sources),
        }
        check_facts(Path(options.out) / MANIFEST, what_counts(self.facts), WORDS)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Encode some pieces.

        Args:
            batch: ``unit``, the pieces as JSON.

        Returns:
            ``report`` of each as JSON: ``media``, how many it has, ``encoded``, how many were
            encoded, ``there``, how many had been before, and ``faults``, what is wrong with those
            that can't be read.
        """
        reports = [json.dumps(self.encode(json.loads(str(unit)))) for unit in batch["unit"]]
        return {"report": np.array(reports, dtype=object)}

    def encode(self, unit: Mapping[str, Any]) -> dict[str, Any]:
        """Encode one piece; see the class."""
        path = Path(self.options.out) / (unit["shard"] + SUFFIX)
        if path.is_file():
            keys, faults = read_errors(path)
            there = len(keys) - len(faults)
            again = [f"{fault} (remove {path.name} to try again)" for fault in faults]
            return {"media": len(keys), "encoded": 0, "there": there, "faults": again}
        if "items" in unit:
            return self._shard(path, [Item(*item) for item in unit["items"]], [])
        key, location = unit["tar"]
        try:
            with local_file(location, self.options.backend_args, ".tar") as archive:
                items, faults = tar_items(archive, key)
                return self._shard(path, items, faults)
        except BadTarError as error:
            fault = str(error)
        except FetchError as error:
            fault = f"{key}: {error}"
        return {"media": 1, "encoded": 0, "there": 0, "faults": [fault]}

    def _shard(self, path: Path, items: Sequence[Item], faults: list[str]) -> dict[str, Any]:
        """Read, encode and write the items of a shard."""
        faults, encoded = list(faults), 0
        media = len(items) + len(faults)
        with writing_shard(path, self.layout, self.facts) as writer:
            for pending in self._encoded(items):
                rows = _rows_of(pending)
                writer.write(rows)
                wrong = [f"{row.key}: {row.error}" for row in rows if row.error is not None]
                faults, encoded = faults + wrong, encoded + (not wrong)
        return {"media": media, "encoded": encoded, "there": 0, "faults": faults}

    def _encoded(self, items: Sequence[Item]) -> Iterator[_Pending]:
        """The items in their order, each when its shots are encoded."""
        options = self.options
        func = partial(read_item, self.engine.reader, options.reading, options.backend_args)
        queue: deque[_Pending] = deque()
        batch: list[tuple[_Pending, ReadShot]] = []
        last = -1
        for number, found in stream_in_processes(func, [(i,) for i in items], options.workers):
            if number != last:
                last = number
                queue.append(_Pending(items[number]))
            pending = queue[-1]
            if isinstance(found, ReadShot):
                full = len(batch) == options.batch_size
                if batch and (full or batch[-1][1].frames.shape != found.frames.shape):
                    batch = self._encode(batch)
                batch.append((pending, found))
                pending.shots.append(found)
                continue
            if isinstance(found, Died):
                found = ItemEnd(FileEnd(None, f"reading it failed: {found.reason}"))
            pending.end = found
            if found.end.error is not None:
                # Of a file that ends too early its first shots are nothing to rely on.
                batch = [pair for pair in batch if pair[0] is not pending]
                pending.shots, pending.rows = [], []
            while queue and queue[0].done:
                yield queue.popleft()
        self._encode(batch)
        yield from queue

    def _encode(self, batch: list[tuple[_Pending, ReadShot]]) -> list[tuple[_Pending, ReadShot]]:
        """Encode the shots that wait; none are left."""
        if not batch:
            return []
        frames = [torch.from_numpy(shot.frames) for _, shot in batch]
        media = self.engine.encode_media(self.engine.batch(frames))
        try:
            rows = self.layout.rows_of(media, [shot.times.tolist() for _, shot in batch])
        except ValueError as error:
            keys = sorted({pending.item.key for pending, _ in batch})
            raise ValueError(f"{', '.join(keys)}: {error}.") from error
        for number, (pending, shot) in enumerate(batch):
            pending.rows.append({name: numbers[number] for name, numbers in rows.items()})
            # Pixels are of no use any more.
            place = next(i for i, own in enumerate(pending.shots) if own is shot)
            pending.shots[place] = shot._replace(frames=np.empty(0, np.uint8))
        return []


def _rows_of(pending: _Pending) -> list[Row]:
    item, known = pending.item, pending.end or ItemEnd(FileEnd(None))
    head = (item.key, item.kind, item.size if item.offset >= 0 else known.size)
    stamps = (known.mtime_ns, known.end.digest)
    if known.end.error is not None:
        return [Row(*head, *stamps, known.end.error)]
    return [
        Row(*head, *stamps, None, shot.start, shot.end, numbers)
        for shot, numbers in zip(pending.shots, pending.rows, strict=True)
    ]


def own_rank() -> tuple[int, int]:
    """Number of this process among those of torchrun, and how many there are."""
    rank, world = (os.environ.get(name, d) for name, d in (("RANK", "0"), ("WORLD_SIZE", "1")))
    return int(rank), int(world)
