"""A file of plain facts and binary content behind a digest of both.

Libraries that read binary files trust them: a damaged one may end the process. So nothing is handed
to them before the digest has been found right. It protects from damage, not from a file that
somebody wrote on purpose: open files of people you trust.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from uniadapter.utils.safe_io import atomic_file

_MAGIC = b"UNIADAPTER-FIRST-STAGE\n"
_DIGEST = hashlib.sha256().digest_size
_LENGTH = 8
_BLOCK = 2**20


class _Hashing:
    """Writes to a file and keeps the digest of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)


def write_envelope(path: str | Path, facts: dict[str, Any], write: Callable[[Any], None]) -> None:
    """Write a file, whole or not at all.

    Args:
        path: The file.
        facts: What can be JSON.
        write: Writes the content to the file that it is given.
    """
    head = json.dumps(facts).encode()
    with atomic_file(path) as file:
        file.write(_MAGIC + bytes(_DIGEST))
        hashing = _Hashing(file)
        hashing.write(len(head).to_bytes(_LENGTH, "little") + head)
        write(hashing)
        file.seek(len(_MAGIC))
        file.write(hashing.digest.digest())


@contextmanager
def open_envelope(path: str | Path) -> Iterator[tuple[dict[str, Any], IO[bytes]]]:
    """Check a file and open it.

    Args:
        path: The file.

    Yields:
        The facts, and the file at the beginning of the content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file, or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist: build the first stage from the features.")
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(f"{path} is no first stage that uniadapter wrote.")
        expected, digest = file.read(_DIGEST), hashlib.sha256()
        while part := file.read(_BLOCK):
            digest.update(part)
        if digest.digest() != expected:
            raise ValueError(
                f"{path} is truncated or damaged, its digest doesn't fit: build the first stage "
                "anew from the features."
            )
        file.seek(len(_MAGIC) + _DIGEST)
        length = int.from_bytes(file.read(_LENGTH), "little")
        yield json.loads(file.read(length)), file
