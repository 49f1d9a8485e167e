"""What an update has to do: the files of a folder compared with those of its index."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from .records import FileRecord
from .scan import Found, Scan, is_elsewhere


class Moved(NamedTuple):
    """A file whose content the index has already.

    Attributes:
        source: What has it.
        path: Where the file is.
        found: What it is like.
    """

    source: FileRecord
    path: bytes
    found: Found


@dataclass
class Plan:
    """What an update has to do.

    Attributes:
        read: Files to be read, by their paths.
        new: How many of them the index did not have.
        moved: Files that changed their place: the source is not where it was.
        copied: Files with the content of another one.
        touched: Files that changed nothing but their times, or are back.
        gone: Files that are not there any more.
        unchanged: How many are as they were.
    """

    read: list[tuple[bytes, Found]] = field(default_factory=list)
    new: int = 0
    moved: list[Moved] = field(default_factory=list)
    copied: list[Moved] = field(default_factory=list)
    touched: list[Moved] = field(default_factory=list)
    gone: list[FileRecord] = field(default_factory=list)
    unchanged: int = 0

    @property
    def changed(self) -> int:
        """How many of the files to be read the index had otherwise."""
        return len(self.read) - self.new


def make_plan(
    scan: Scan,
    files: Iterable[FileRecord],
    digest: Callable[[bytes], bytes],
    retry: bool = False,
) -> Plan:
    """Compare a folder with its index.

    A file is as it was if its size and time of change are. Otherwise its content tells, which is
    looked at only where the index has some of this size. What came with an encoded corpus and is
    no file of the folder stays.

    Args:
        scan: What there is.
        files: What the index has.
        digest: Digest of the content of a file; raises OSError where it can't be read.
        retry: Read again what could not be read.
    """
    plan = Plan()
    known = {os.fsencode(file.path): file for file in files}
    by_size: dict[tuple[int, str], list[FileRecord]] = defaultdict(list)
    for file in known.values():
        if file.digest is not None and not (retry and file.error):
            by_size[file.size, file.kind].append(file)
    taken: set[int] = set()

    def is_away(file: FileRecord) -> bool:
        path = os.fsencode(file.path)
        seen = path in scan.files or is_elsewhere(file.path, file.mtime_ns)
        return file.file_id not in taken and not seen and not scan.hides(path)

    for path, found in sorted(scan.files.items()):
        own = known.get(path)
        # Without digest and reason it was changed while it was read.
        known_as = own is not None and (own.digest or own.error) is not None
        if own is not None and known_as and not own.gone and own[2:5] == found:
            if own.error is not None and retry:
                plan.read.append((path, found))
            else:
                plan.unchanged += 1
            continue
        alike = by_size.get((found.size, found.kind), [])
        content = _digest(digest, path) if alike else None
        same = [file for file in alike if file.digest == content]
        # What was away comes first: to move it costs nothing at all.
        source = min(same, key=lambda file: (file is not own, not is_away(file)), default=None)
        if source is None:
            plan.read.append((path, found))
            plan.new += own is None
        elif source is own:
            plan.touched.append(Moved(source, path, found))
        elif own is None and is_away(source):
            plan.moved.append(Moved(source, path, found))
            taken.add(source.file_id)
        else:
            plan.copied.append(Moved(source, path, found))
    plan.gone = [file for file in known.values() if not file.gone and is_away(file)]
    return plan


def _digest(digest: Callable[[bytes], bytes], path: bytes) -> bytes | None:
    """Digest of a file; None of one that can't be read, which the reading will tell."""
    try:
        return digest(path)
    except OSError:
        return None
