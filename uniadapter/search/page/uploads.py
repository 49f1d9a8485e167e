"""Pictures and videos that come with a request, up to a limit and known by their content."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from .answers import PageError

logger = logging.getLogger("uniadapter.page")

_MOST_FIELDS = 8
_LONGEST_FIELD = 16 * 1024


class Upload(NamedTuple):
    """A medium in a file of its own, and the other fields of its form."""

    path: Path
    kind: Literal["video", "image"]
    fields: dict[str, str]


#: Where a sign stands in a file, and the ending of the files that have it there.
_SIGNS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"GIF87a", ".gif"),
    (0, b"GIF89a", ".gif"),
    (8, b"WEBP", ".webp"),
    (0, b"BM", ".bmp"),
    (0, b"II*\0", ".tif"),
    (0, b"MM\0*", ".tif"),
    (4, b"ftypavif", ".avif"),
    (8, b"AVI ", ".avi"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1a\x45\xdf\xa3", ".mkv"),
    (0, b"OggS", ".ogv"),
    (0, b"\0\0\x01\xba", ".mpg"),
    (0, b"FLV\x01", ".flv"),
)
#: As in an index, a GIF is a video.
_VIDEOS = {".gif", ".avi", ".mp4", ".mkv", ".ogv", ".mpg", ".flv"}


def ending_of(start: bytes) -> str | None:
    """The ending for a file that starts so; None where it is no picture and no video."""
    for place, sign, ending in _SIGNS:
        if start[place : place + len(sign)] == sign:
            return ending
    # Packets of 188 bytes, each with a sign of one byte.
    return ".ts" if start[:1] == b"G" and start[188:189] == b"G" else None


@asynccontextmanager
async def received(request: Request, limit: int) -> AsyncIterator[Upload]:
    """Read the form of a request; its file is gone afterwards.

    Args:
        request: A POST of ``multipart/form-data``.
        limit: Bytes that it may have.

    Raises:
        PageError: If it is too large, broken, or has no picture or video.
    """
    form = await _form(request, limit)
    try:
        media = form.getlist("file")
        if len(media) != 1 or not isinstance(media[0], UploadFile):
            raise PageError(422, "no_file", "Send one picture or video as the field `file`.")
        fields = {}
        for name, value in form.multi_items():
            if name != "file":
                if not isinstance(value, str) or name in fields:
                    raise PageError(422, "wrong_field", "Each field is one text; `file` the file.")
                fields[name] = value
        start = await media[0].read(512)
        ending = ending_of(start)
        if ending is None:
            message = "The file is no picture and no video that is known."
            raise PageError(415, "unknown_kind", message if start else "The file is empty.")
        kind: Literal["video", "image"] = "video" if ending in (*_VIDEOS, ".ts") else "image"
        await media[0].seek(0)
        with ExitStack() as kept:
            try:
                file = kept.enter_context(
                    tempfile.NamedTemporaryFile(prefix="uniadapter-", suffix=ending)
                )
                await run_in_threadpool(shutil.copyfileobj, media[0].file, file)
                await run_in_threadpool(file.flush)
            except OSError as error:
                raise _no_room(error) from error
            yield Upload(Path(file.name), kind, fields)
    finally:
        await form.close()


def _no_room(error: OSError) -> PageError:
    logger.error("An upload can't be kept: %s", error)
    return PageError(503, "no_room", "The server can't keep the upload: look at its disk.")


async def _form(request: Request, limit: int) -> FormData:
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise PageError(415, "no_form", "Send a form: `multipart/form-data`.")
    announced = request.headers.get("content-length", "0")
    too_large = PageError(413, "upload_too_large", f"An upload may have {limit:,} bytes.")
    if not announced.isdecimal() or len(announced) > 18 or int(announced) > limit:
        raise too_large

    async def limited() -> AsyncGenerator[bytes, None]:
        got = 0
        async for chunk in request.stream():
            got += len(chunk)
            if got > limit:
                raise too_large
            yield chunk

    parser = MultiPartParser(
        request.headers,
        limited(),
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=_LONGEST_FIELD,
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise PageError(400, "broken_form", f"The form is broken: {error.message}") from error
    except ClientDisconnect as error:
        raise PageError(400, "broken_form", "The form ended too early.") from error
    # Parts of some size are kept on the disk.
    except OSError as error:
        raise _no_room(error) from error
    # The parser meets broken headers of parts with whatever its parts raise.
    except (ValueError, LookupError, TypeError) as error:
        raise PageError(400, "broken_form", "The form is broken.") from error
