"""The media of a corpus: files of folders, lines of lists, members of WebDataset's tars."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mmengine import fileio

from uniadapter.apis.inputs import InputReader

from .hits import Kind
from .reading import ReadOptions
from .s3 import S3Backend
from .scan import TAR, is_uri, kind_of, scan
from .update import FileEnd, read_file

LIST = ".txt"
#: What may stand beside a medium in a tar of WebDataset, and is not read.
BESIDE = (
    *(".txt", ".json", ".jsonl", ".cls", ".cls2", ".id", ".index", ".inx", ".caption", ".text"),
    *(".npy", ".npz", ".pyd", ".pth", ".ten", ".csv", ".tsv", ".vtt", ".srt"),
    *(".wav", ".flac", ".mp3", ".m4a", ".ogg"),
)
#: How often a file that is elsewhere is asked for.
_TRIES = 3
_BLOCK = 512


class BadTarError(ValueError):
    """A tar can't be read, or has members that can't be told apart."""


class FetchError(OSError):
    """A file that is elsewhere can't be read."""


class Item(NamedTuple):
    """A medium of a corpus.

    Attributes:
        key: Its name in the corpus: the path below the folder, the line of the list, or the name of
            the tar, a slash and the member's name.
        kind: By its extension.
        location: Its file or URI; that of the tar.
        offset: Where the member begins in the tar; -1 of what is no member.
        size: Of the member, in bytes.
    """

    key: str
    kind: Kind
    location: str
    offset: int = -1
    size: int = 0


class ItemEnd(NamedTuple):
    """What comes behind the shots of an item.

    Attributes:
        end: Its digest, or why it can't be read.
        size: Of its file, in bytes.
        mtime_ns: Time of change of its file; 0 of what is no file of this machine.
    """

    end: FileEnd
    size: int = 0
    mtime_ns: int = 0


def _path_of(location: str) -> str:
    """A location without what may stand behind the path of an address of the web."""
    web = location.startswith(("http://", "https://"))
    return urlsplit(location).path if web else location


def kind_of_location(location: str) -> Kind | None:
    """What a file or URI is by its extension; None of what is no medium."""
    return kind_of(os.fsencode(_path_of(location)))


def find_units(sources: Sequence[str], per_unit: int, frames: bool = False) -> list[str]:
    """Divide a corpus into pieces of work, which don't depend on how many processes do them.

    Args:
        sources: Folders, whose media are those that ``uniadapter index`` finds, and whose tars are
            read too; tars; lists, ``*.txt``, of a medium or tar a line, relative to the list's
            folder; media. Tars, media and lines may be URIs.
        per_unit: Media of a piece; a tar is a piece of its own.
        frames: Whether folders that hold pictures alone, below those named, are videos.

    Returns:
        Each piece as a JSON object with ``shard``, its name, and either ``items`` or ``tar``, its
        name and location.

    Raises:
        FileNotFoundError: If a folder or a list doesn't exist, or there is no medium at all.
        ValueError: If a line or a source is none of these, or two media have one key.
    """
    media: list[tuple[str, str, str]] = []
    tars: list[tuple[str, str]] = []
    named_by: dict[str, str] = {}
    for source in sources:
        for key, location, found in _entries(source, frames):
            named_by[location] = source
            kind = found or kind_of_location(location)
            if _is_tar(location):
                tars.append((key, location))
            elif kind is not None:
                media.append((key, kind, location))
            else:
                raise ValueError(
                    f"{source}: {location!r:.300} is no video, no picture and no {TAR}: its "
                    "extension says what a file is."
                )
    seen: dict[str, str] = {}
    for key, location in [*((key, location) for key, _, location in media), *tars]:
        _check_key(key, location)
        if key in seen:
            raise ValueError(
                f"{named_by[location]}: {seen[key]:.300} and {location:.300} would both be "
                f"{key!r:.300}: name a folder above both, or leave one out."
            )
        seen[key] = location
    if not seen:
        raise FileNotFoundError(f"{', '.join(sources)}: there is no video, picture or {TAR} there.")
    units: list[dict[str, Any]] = [
        {"items": media[start : start + per_unit]} for start in range(0, len(media), per_unit)
    ]
    units += [{"tar": tar} for tar in tars]
    return [json.dumps({"shard": f"part-{n:05d}", **unit}) for n, unit in enumerate(units)]


def _check_key(key: str, location: str) -> None:
    """See that a key can stand in a column of texts."""
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{location!r:.300}: its name is no UTF-8; rename it.") from error


def _is_tar(location: str) -> bool:
    return _path_of(location).lower().endswith(TAR)


def _entries(source: str, frames: bool) -> Iterator[tuple[str, str, Kind | None]]:
    """Keys and locations that a source stands for, and what they are where that is known."""
    if is_uri(source):
        yield source, source, None
    elif os.path.isdir(source):
        listed = scan(source, frames)
        for path, why in listed.unlisted.items():
            raise ValueError(f"{os.path.join(source, os.fsdecode(path))} can't be listed: {why}.")
        known: dict[bytes, Kind | None] = {path: one.kind for path, one in listed.files.items()}
        known.update(dict.fromkeys(_tars(source)))
        for path in sorted(known):
            key = os.fsdecode(path)
            yield key, os.path.join(source, key), known[path]
    elif not os.path.isfile(source):
        raise FileNotFoundError(
            f"{source} does not exist: name a folder, a {TAR} or a list {LIST}."
        )
    elif source.lower().endswith(LIST):
        yield from _lines(source)
    else:
        yield os.path.basename(source), source, None


def _tars(folder: str) -> Iterator[bytes]:
    """Paths below a folder of its tars; names that begin with a dot are left out, as of media."""
    for place, folders, names in os.walk(os.fsencode(folder)):
        folders[:] = [name for name in folders if not name.startswith(b".")]
        for name in names:
            if name.lower().endswith(TAR.encode()) and not name.startswith(b"."):
                yield os.path.relpath(os.path.join(place, name), os.fsencode(folder))


def _lines(path: str) -> Iterator[tuple[str, str, None]]:
    try:
        # Names of files may hold other ends of lines than this one.
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}.") from error
    folder = os.path.dirname(os.path.abspath(path))
    for number, line in enumerate(map(str.strip, lines), 1):
        if "\0" in line:
            raise ValueError(
                f"{path}: line {number} holds a zero byte, which no name has: mend it."
            )
        if line and is_uri(line):
            yield line, line, None
        elif line:
            location = os.path.abspath(os.path.join(folder, line))
            inside = location.startswith(os.path.join(folder, ""))
            yield os.path.relpath(location, folder) if inside else location, location, None


def tar_items(path: str, key: str) -> tuple[list[Item], list[str]]:
    """List the media of a tar.

    Args:
        path: Its file.
        key: Its name in the corpus.

    Returns:
        The media, and what is wrong with other members: those of an unknown kind, and links,
        devices and sparse files that are named like media. Those that stand beside media
        (:data:`BESIDE`), and hidden ones, are left out.

    Raises:
        BadTarError: If it is no tar, damaged, empty, has two members of one name, or one whose name
            leads out of it.
    """
    items: dict[str, Item] = {}
    faults = []
    for member in _members(path, key):
        name = str(PurePosixPath(member.name))
        kind, hidden = kind_of(os.fsencode(name)), PurePosixPath(name).name.startswith(".")
        if hidden or not (member.isreg() or (kind is not None and not member.isdir())):
            continue
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise BadTarError(f"{key}: the member {name!r} leads out of the archive.")
        if kind is None:
            if not name.lower().endswith(BESIDE):
                faults.append(f"{key}/{name}: is of no kind that is known, by its extension")
            continue
        if name in items:
            raise BadTarError(f"{key}: has two members {name!r}; write the archive anew.")
        if not member.isreg() or member.issparse():
            what = "a link, a device or a pipe" if not member.isreg() else "a sparse file"
            faults.append(f"{key}/{name}: is {what}: put the file itself into the archive")
            continue
        whole = f"{key}/{name}"
        if whole.encode("utf-8", "replace").decode() != whole:
            faults.append(f"{ascii(whole)}: its name is no UTF-8")
            continue
        items[name] = Item(whole, kind, path, member.offset_data, member.size)
    if not items and not faults:
        raise BadTarError(f"{key}: holds no video and no picture.")
    return list(items.values()), faults


def _members(path: str, key: str) -> list[tarfile.TarInfo]:
    """The members of a tar that is whole."""
    found: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                # A size below zero would lead back to the same member for ever.
                if member.size < 0 or archive.offset <= member.offset:
                    raise tarfile.ReadError("a member has a size below zero")
                found.append(member)
            end = archive.offset
    except FileNotFoundError as error:
        raise BadTarError(f"{key}: does not exist ({path}).") from error
    # Damaged headers make the reader fail in many ways, of a size beyond all bounds for one.
    except Exception as error:
        if _is_gzip(path):
            raise BadTarError(f"{key}: is compressed by gzip: unpack it.") from error
        raise BadTarError(f"{key}: is no tar, or damaged ({error}){_behind(found)}.") from error
    with open(path, "rb") as file:
        # Where tarfile meets a header that is none, it takes it for the end.
        file.seek(end)
        rest = file.read(_BLOCK)
    size = os.path.getsize(path)
    if rest.strip(b"\0") or any(one.offset_data + _stored(one) > size for one in found):
        raise BadTarError(f"{key}: is truncated or damaged{_behind(found)}.")
    return found


def _stored(member: tarfile.TarInfo) -> int:
    """Bytes that an archive has of a member: of a sparse file without its holes."""
    parts: list[tuple[int, int]] | None = getattr(member, "sparse", None)
    return member.size if parts is None else sum(count for _, count in parts)


def _is_gzip(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _behind(found: Sequence[tarfile.TarInfo]) -> str:
    return f" behind the member {found[-1].name!r}" if found else ""


def check_backend(backend_args: Mapping[str, Any] | None) -> None:
    """See that MMEngine knows a backend, and the backend its arguments.

    Raises:
        ImportError: If the backend needs a package that is not installed.
        ValueError: If it doesn't.
    """
    if not backend_args:
        return
    try:
        fileio.get_file_backend(backend_args=dict(backend_args))
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"backend_args={dict(backend_args)!r} is no backend of MMEngine's fileio: {error}."
        ) from error


def fetch(location: str, backend_args: Mapping[str, Any] | None) -> bytes:
    """Read a file that is elsewhere.

    Args:
        location: Its URI, or what the backend takes.
        backend_args: Of MMEngine's fileio, such as ``{'backend': 'http'}``; None: by the URI, which
            for ``s3://`` is :class:`~uniadapter.search.s3.S3Backend`.

    Raises:
        FetchError: If it can't be read; what may pass is tried again first.
    """
    chosen = dict(backend_args or {})
    if not chosen and location.startswith("s3://"):
        chosen = {"backend": S3Backend.NAME}
    for attempt in range(_TRIES):
        try:
            return fileio.get(location, chosen or None)
        except (ImportError, KeyError) as error:
            raise FetchError(f"can't be fetched: {error}") from error
        except OSError as error:
            # Of urllib, where the server has said what is wrong.
            gone = isinstance(error, FileNotFoundError) or getattr(error, "code", 500) < 500
            if gone or attempt == _TRIES - 1:
                raise FetchError(f"can't be fetched: {error}") from error
            time.sleep(attempt + 0.2)
    raise FetchError("can't be fetched")


@contextmanager
def local_file(location: str, backend_args: Mapping[str, Any] | None, suffix: str) -> Iterator[str]:
    """A file or URI as a file of this machine, for as long as it is needed.

    Raises:
        FetchError: If it can't be fetched.
    """
    if not backend_args and not is_uri(location):
        yield location
        return
    with _temporary(fetch(location, backend_args), suffix) as path:
        yield path


@contextmanager
def _temporary(content: bytes, suffix: str) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        yield file.name


def read_item(
    reader: InputReader, options: ReadOptions, backend_args: Mapping[str, Any] | None, item: Item
) -> Iterator[Any]:
    """The shots of an item, cut as ``uniadapter index`` cuts them, and then an :class:`ItemEnd`."""
    suffix = PurePosixPath(_path_of(item.key)).suffix
    try:
        if item.offset >= 0:
            with open(item.location, "rb") as archive:
                archive.seek(item.offset)
                content = archive.read(item.size)
            with _temporary(content, suffix) as path:
                yield from _read(reader, options, path, item.kind, stamped=False)
            return
        with local_file(item.location, backend_args, suffix) as path:
            yield from _read(reader, options, path, item.kind, stamped=path == item.location)
    except OSError as error:
        yield ItemEnd(FileEnd(None, str(error)))


def _read(
    reader: InputReader, options: ReadOptions, path: str, kind: Kind, stamped: bool
) -> Iterator[Any]:
    for found in read_file(reader, options, path, kind):
        if not isinstance(found, FileEnd):
            yield found
        else:
            size, changed = _stamps(path)
            yield ItemEnd(found, size, changed if stamped else 0)


def _stamps(path: str) -> tuple[int, int]:
    """Size and time of change of a file, of a folder of frames those of all that is in it."""
    if not os.path.exists(path):
        return 0, 0
    inside = [e for e in os.scandir(path) if e.is_file()] if os.path.isdir(path) else [Path(path)]
    known = [one.stat() for one in inside]
    return sum(one.st_size for one in known), max((one.st_mtime_ns for one in known), default=0)
