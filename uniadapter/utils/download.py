"""Fetching a file over HTTP: continued where it was interrupted; whole and checked or not there."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mmengine.logging import print_log

from .errors import WriteError, disk_refuses
from .locks import lock_file

_CHUNK = 2**20
# Attempts of one call, each going on where the one before ended.
_ATTEMPTS = 3
# Seconds without a byte after which a connection is given up.
_TIMEOUT = 30
# Seconds between two lines of progress.
_INTERVAL = 10
_PARTIAL, _RANGE_REFUSED = 206, 416


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: str | Path, sha256: str | None = None, size: int | None = None) -> Path:
    """Hold a file against what is known of it.

    Args:
        path: The file.
        sha256: What its digest must be; None where nobody published it.
        size: What it must hold, in bytes; None where nobody said.

    Returns:
        The path.

    Raises:
        ValueError: If it differs.
    """
    path = Path(path)
    found = path.stat().st_size
    if size is not None and found != size:
        raise ValueError(f"{path} has {found:,} bytes, where {size:,} are expected.")
    if sha256 is not None and (digest := sha256_of(path)) != sha256.lower():
        raise ValueError(f"{path} has the sha256 {digest}, where {sha256} is expected.")
    return path


def download(
    url: str, target: str | Path, sha256: str | None = None, size: int | None = None
) -> Path:
    """Fetch a file, or return it where it is there already.

    Bytes go to ``TARGET.part``; only what is complete and has the digest gets the name of the
    target. What an interrupted call leaves is continued by the next one, where the digest or the
    server shows that it is a part of the same file. Of several processes one fetches, the others
    wait.

    Args:
        url: An address of HTTP or HTTPS.
        target: The file to be; its folder is created.
        sha256: Its digest; None where nobody published it.
        size: Its bytes; None where nobody said.

    Returns:
        The target.

    Raises:
        ConnectionError: If the server can't be reached, has no such file or breaks off; the
            message says where to put the file without a network.
        ValueError: If the address is of another kind, or the file is not the expected one.
        WriteError: If the disk is full, read-only or the like.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url}: only addresses that begin with https:// or http:// are fetched.")
    target = Path(target)
    part = target.with_name(f"{target.name}.part")
    # A folder of somebody else's may have it, to which nothing can be written.
    if os.path.isfile(target) and not os.access(part, os.W_OK):
        return check_file(target, sha256, size)
    with _owned(part) as file:
        if target.is_file():
            _remove(part)
            return check_file(target, sha256, size)
        _fetch_all(url, target, file, sha256, size)
        try:
            check_file(part, sha256, size)
        except ValueError as error:
            _remove(part)
            raise ValueError(
                f"What {url} gave was thrown away: {error} The address may give another file now; "
                f"a right one goes to {target}."
            ) from error
        os.fsync(file.fileno())
        os.replace(part, target)
        _remove(part)
    if sha256 is None:
        digest = sha256_of(target)
        print_log(f"{target}: nobody published its sha256 to check it; it is {digest}.", "current")
    return target


@contextmanager
def _owned(part: Path) -> Iterator[IO[bytes]]:
    """The partial file, opened for appending, with no other process at it."""
    while True:
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            opened = open(part, "ab")  # noqa: SIM115
        except OSError as error:
            raise WriteError(part.with_suffix(""), error) from error
        with opened as file:
            # Without locks two that fetch the same file spoil it, which its digest shows.
            lock_file(file)
            # The process that had it may have renamed or removed it.
            if part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat()):
                yield file
                return


def _tag_file(part: Path) -> Path:
    """Where the server's mark of the version is kept that a partial file is of."""
    return part.with_name(f"{part.name}.tag")


def _remove(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def _fetch_all(
    url: str, target: Path, file: IO[bytes], sha256: str | None, size: int | None
) -> None:
    """Fetch what is missing of a partial file, in several attempts.

    Raises:
        ConnectionError: If it is not complete then.
    """
    reason: object = ""
    for _ in range(_ATTEMPTS):
        before = _length(file)
        try:
            if _fetch(url, Path(f"{target}.part"), file, sha256 is not None, size):
                return
            reason = "the server broke off"
        except HTTPError as error:
            # Asking again gives the same answer.
            reason = f"the server says {error.code} {error.reason}"
            break
        except (OSError, http.client.HTTPException) as error:
            if disk_refuses(error):
                raise WriteError(target, error) from error
            reason = getattr(error, "reason", None) or error or type(error).__name__
        if _length(file) <= before:
            break
    done = _length(file)
    kept = f" {done:,} bytes are kept, and another call goes on from there." if done else ""
    if not done:
        _remove(Path(f"{target}.part"))
    raise ConnectionError(
        f"{url} could not be fetched: {reason}.{kept} Without a network, bring the file here by "
        f"other means as {target}."
    )


def _length(file: IO[bytes]) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


def _fetch(url: str, part: Path, file: IO[bytes], known: bool, size: int | None) -> bool:
    """Append to a partial file what the server has of it.

    Args:
        url: The address.
        part: The partial file.
        file: The same, open for appending.
        known: Whether a digest will show that its parts are of one file.
        size: Bytes of the whole; None where nobody said.

    Returns:
        Whether it is complete, as far as the server says.
    """
    done, tags = _length(file), _tag_file(part)
    tag = tags.read_text(encoding="utf-8") if tags.is_file() else ""
    if done and not (tag or known):
        done = _restart(file)
    if done and done == size:
        return True
    headers = {"Accept-Encoding": "identity", "User-Agent": "uniadapter"}
    if done:
        headers["Range"] = f"bytes={done}-"
    if done and tag:
        headers["If-Range"] = tag
    try:
        response = urlopen(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        if not done or error.code != _RANGE_REFUSED:
            raise
        # There is nothing behind what is here, which may be complete or of another file.
        error.close()
        _restart(file)
        return _fetch(url, part, file, known, size)
    with response:
        if done and not _goes_on(response, done):
            done = _restart(file)
        length = response.headers.get("Content-Length")
        total = size if length is None else done + int(length)
        if size is not None and total != size:
            _remove(part)
            raise ValueError(f"{url} has {total:,} bytes, where {size:,} are expected.")
        tags.write_text(_version_of(response), encoding="utf-8")
        _append(response, file, part.stem, total)
    return total is None or _length(file) == total


def _restart(file: IO[bytes]) -> int:
    """Empty a partial file."""
    file.flush()
    file.truncate(0)
    return 0


def _goes_on(response: http.client.HTTPResponse, done: int) -> bool:
    """Whether an answer begins at this byte."""
    said = response.headers.get("Content-Range", "")
    return response.status == _PARTIAL and said.startswith(f"bytes {done}-")


def _version_of(response: http.client.HTTPResponse) -> str:
    """The server's mark of this version of the file; empty where it gives no exact one."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _append(
    response: http.client.HTTPResponse, file: IO[bytes], name: str, total: int | None
) -> None:
    """Copy an answer to a file, with a line of progress now and then."""
    said = time.monotonic()
    while chunk := response.read(_CHUNK):
        file.write(chunk)
        if time.monotonic() - said >= _INTERVAL:
            said = time.monotonic()
            of = f" of {total / 2**20:,.0f}" if total else ""
            print_log(f"{name}: {_length(file) / 2**20:,.0f}{of} MiB", "current")
