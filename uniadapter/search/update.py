"""Bringing an index up to date with its folder."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import cv2
import torch

from uniadapter.apis.inputs import InputReader
from uniadapter.datasets import MediaError
from uniadapter.utils.processes import Died, stream_in_processes

from .engine import SearchEngine
from .hits import Kind
from .index import SearchIndex
from .plan import Plan, make_plan
from .reading import ReadOptions, ReadShot, digest_of, read_shots, stamp_of
from .reuse import reuse
from .scan import Found, Scan, scan
from .stage import keep_first_stage
from .writer import FileEntry, IndexWriter, ShotEntry, writing

ON_ERROR = ("skip", "raise")
#: Seconds after which what is ready is made visible.
COMMIT_SECONDS = 5.0
#: Share of rows that no shot has any more from which on an index is compacted by itself.
DEAD_SHARE = 0.5

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class UpdateOptions:
    """How an index is brought up to date.

    Attributes:
        workers: Processes that read files; 0: this one does.
        batch_size: Shots encoded at once.
        on_error: A file that can't be read: ``'skip'`` keeps the reason in the index, ``'raise'``
            ends the update, which keeps what it has.
        retry: Read again what could not be read before.
        compact: Drop what no shot has any more, however little that is.
    """

    workers: int = 0
    batch_size: int = 8
    on_error: str = "skip"
    retry: bool = False
    compact: bool = False

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"workers={self.workers}: it is the number of processes, 0 for none.")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: at least one shot is encoded at once.")
        if self.on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {ON_ERROR}, got {self.on_error!r}.")


@dataclass
class UpdateSummary:
    """What an update did.

    Attributes:
        new: Files that were read and that the index did not have.
        changed: Files that were read again.
        moved: Files that are elsewhere now; nothing was encoded for them.
        copied: Files with the content of another one; nothing was encoded for them.
        touched: Files whose time of change alone is another, or that are back.
        deleted: Files that are not there any more.
        unchanged: Files that are as they were.
        unreadable: Why files could not be read, by their paths; of new and changed ones.
        encoded: Shots that were encoded.
        unlisted: Why folders could not be looked into, by their paths; what the index has of them
            stays.
        files: Files that can be found now.
        shots: Shots that can be found now.
        size: Bytes of the index.
        seconds: What it took.
        compacted: Whether dead rows were dropped.
    """

    new: int = 0
    changed: int = 0
    moved: int = 0
    copied: int = 0
    touched: int = 0
    deleted: int = 0
    unchanged: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    encoded: int = 0
    unlisted: dict[str, str] = field(default_factory=dict)
    files: int = 0
    shots: int = 0
    size: int = 0
    seconds: float = 0.0
    compacted: bool = False


class FileEnd(NamedTuple):
    """What comes behind the shots of a file.

    Attributes:
        digest: Of its content; None where it can't be read.
        error: Why it can't be read as a medium; None where it can.
    """

    digest: bytes | None
    error: str | None = None


def update_index(
    index: SearchIndex,
    engine: SearchEngine,
    options: UpdateOptions | None = None,
    progress: Progress | None = None,
) -> UpdateSummary:
    """Bring an index up to date with its folder.

    It may be ended at any moment, and goes on where it was when it is called again.

    Args:
        index: The index.
        engine: What it was made with.
        options: How.
        progress: Is told how many files were read, and how many there are to be read.

    Raises:
        BlockingIOError: If another process is at it.
        FileNotFoundError: If the folder does not exist.
        MediaError: If a file can't be read and ``on_error='raise'``.
        OSError: If the index can't be written to.
        ValueError: If the index was made with another engine, or an option is wrong.
    """
    index.check(engine)
    start, chosen = time.perf_counter(), options or UpdateOptions()
    with writing(index) as writer:
        update = _Update(writer, engine, chosen, progress or (lambda done, total: None))
        before = writer.state.version
        summary = update.run()
        changed = writer.state.version != before
    keep_first_stage(index, changed)
    summary.size = sum(file.stat().st_size for file in index.folder.iterdir() if file.is_file())
    summary.seconds = time.perf_counter() - start
    return summary


@dataclass
class _Pending:
    """A file whose shots are being read and encoded."""

    path: bytes
    found: Found
    shots: list[ShotEntry] = field(default_factory=list)
    waiting: int = 0
    end: FileEnd | None = None

    @property
    def done(self) -> bool:
        return self.end is not None and not self.waiting


class _Update:
    def __init__(
        self,
        writer: IndexWriter,
        engine: SearchEngine,
        options: UpdateOptions,
        progress: Progress,
    ) -> None:
        self.writer, self.engine, self.options, self.progress = writer, engine, options, progress
        self.index = writer.index
        self.layout = self.index.settings.layout
        self.root = os.fsencode(self.index.root)
        self.summary = UpdateSummary()
        self._batch: list[tuple[_Pending, ReadShot]] = []
        self._pending: deque[_Pending] = deque()
        self._committed = time.monotonic()

    def run(self) -> UpdateSummary:
        reading = self.index.settings.reading
        listed = scan(os.fsdecode(self.root), reading.frame_rate is not None)
        plan = make_plan(
            listed,
            self.writer.files(),
            lambda path: digest_of(os.fsdecode(self._full(path))),
            self.options.retry,
        )
        self._note(plan, listed)
        reuse(self.writer, plan)
        self._read(plan, reading)
        self._compact(listed)
        files, shots = self.writer.files(), self.index.shots()
        self.summary.files = sum(not file.gone and file.error is None for file in files)
        self.summary.shots = len(shots)
        return self.summary

    def _full(self, path: bytes) -> bytes:
        return os.path.join(self.root, path)

    def _note(self, plan: Plan, listed: Scan) -> None:
        summary = self.summary
        summary.new, summary.changed = plan.new, plan.changed
        summary.moved, summary.copied = len(plan.moved), len(plan.copied)
        summary.touched, summary.deleted = len(plan.touched), len(plan.gone)
        summary.unchanged = plan.unchanged
        summary.unlisted = {os.fsdecode(p): why for p, why in sorted(listed.unlisted.items())}

    def _read(self, plan: Plan, reading: ReadOptions) -> None:
        """Read files, encode their shots and put them in."""
        tasks = [(os.fsdecode(self._full(path)), found.kind) for path, found in plan.read]
        read = read_file_apart if self.options.workers else read_file
        func = partial(read, self.engine.reader, reading)
        self.progress(0, len(tasks))
        last = -1
        for number, item in stream_in_processes(func, tasks, self.options.workers):
            if number != last:
                last = number
                self._pending.append(_Pending(*plan.read[number]))
            pending = self._pending[-1]
            if isinstance(item, ReadShot):
                self._add(pending, item)
                continue
            if isinstance(item, Died):
                item = FileEnd(_digest(tasks[number][0]), f"reading it failed: {item.reason}")
            pending.end = item
            if item.error is not None:
                self._unreadable(pending, item.error)
            self._finish()
            self.progress(number + 1, len(tasks))
        self._encode()
        self._finish()
        self.writer.commit()

    def _unreadable(self, pending: _Pending, reason: str) -> None:
        path = os.fsdecode(pending.path)
        self.summary.unreadable[path] = reason
        # Of a file that ends too early its first shots are nothing to rely on.
        self._batch = [pair for pair in self._batch if pair[0] is not pending]
        pending.waiting, pending.shots = 0, []
        if self.options.on_error == "raise":
            self._pending.pop()
            self._encode()
            self._finish()
            self.writer.commit()
            raise MediaError(os.fsdecode(self._full(pending.path)), reason)

    def _add(self, pending: _Pending, shot: ReadShot) -> None:
        if self._batch and (
            len(self._batch) == self.options.batch_size
            or self._batch[-1][1].frames.shape != shot.frames.shape
        ):
            self._encode()
        self._batch.append((pending, shot))
        pending.waiting += 1

    def _encode(self) -> None:
        """Encode the shots that wait, and append their numbers."""
        if not self._batch:
            return
        frames = [torch.from_numpy(shot.frames) for _, shot in self._batch]
        media = self.engine.encode_media(self.engine.batch(frames))
        try:
            rows = self.layout.rows_of(media, [shot.times.tolist() for _, shot in self._batch])
        except ValueError as error:
            paths = sorted({os.fsdecode(pending.path) for pending, _ in self._batch})
            raise ValueError(f"{', '.join(paths)}: {error}.") from error
        for row, (pending, shot) in zip(self.writer.append(rows), self._batch, strict=True):
            pending.shots.append(ShotEntry(row, shot.start, shot.end))
            pending.waiting -= 1
        self.summary.encoded += len(self._batch)
        self._batch = []

    def _finish(self) -> None:
        """Put in the files that are encoded, in their order."""
        while self._pending and self._pending[0].done:
            pending = self._pending.popleft()
            end = pending.end or FileEnd(None)
            entry = FileEntry(pending.path, *pending.found, digest=end.digest, error=end.error)
            self.writer.put(entry, pending.shots)
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.writer.commit()
            self._committed = time.monotonic()

    def _compact(self, listed: Scan) -> None:
        """Drop dead rows where they are many, or it is asked for."""
        rows = self.writer.state.rows
        live = len(self.index.shots())
        # A folder without files may be a disk that is not there: what it had may come back.
        many = bool(listed.files) and rows - live > DEAD_SHARE * rows
        if many or self.options.compact:
            self.writer.compact()
            self.summary.compacted = True


def read_file(reader: InputReader, options: ReadOptions, path: str, kind: Kind) -> Iterator[Any]:
    """The shots of a file and then a :class:`FileEnd`; whatever is wrong with it is said there."""
    error, before = None, stamp_of(path)
    try:
        yield from read_shots(reader, path, kind, options)
    except MediaError as fault:
        error = fault.reason or str(fault)
    # Pictures of unknown kinds of numbers, and files that went away or may not be read.
    except (OSError, ValueError) as fault:
        error = str(getattr(fault, "strerror", None) or fault)
    digest = _digest(path)
    # What was read must be what the digest stands for; without one the file is read again.
    yield FileEnd(digest if stamp_of(path) == before else None, error)


def read_file_apart(
    reader: InputReader, options: ReadOptions, path: str, kind: Kind
) -> Iterator[Any]:
    """As :func:`read_file`, in a process of its own beside others."""
    # Files are read side by side, not each by many threads; nor do those of the parent come along.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    yield from read_file(reader, options, path, kind)


def _digest(path: str) -> bytes | None:
    try:
        return digest_of(path)
    except OSError:
        return None
