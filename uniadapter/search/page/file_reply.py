"""A file as a reply: whole, in part, or not at all where the browser has it already."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .answers import PageError
from .ranges import Span, Unsatisfiable, Validators, asked_span, condition_status, range_holds

_CHUNK = 256 * 1024


def reply_with_file(
    request: Request, descriptor: int, validators: Validators, media_type: str, caching: str
) -> Response:
    """Answer a GET or HEAD for a file, by RFC 9110.

    Args:
        request: The request.
        descriptor: Of the open file, which is closed when it is sent.
        validators: Of its state.
        media_type: The field ``Content-Type``.
        caching: The field ``Cache-Control``.
    """
    size = os.fstat(descriptor).st_size
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": validators.etag,
        "Last-Modified": validators.date,
        "Cache-Control": caching,
    }
    status = condition_status(request.headers, validators)
    if status is not None:
        os.close(descriptor)
        if status == 412:
            raise PageError(412, "condition_failed", "The file has another state.")
        return Response(status_code=304, headers=headers)
    span: Span | None = None
    wants_part = request.method == "GET" and "range" in request.headers
    if wants_part and range_holds(request.headers.get("if-range"), validators, time.time()):
        try:
            span = asked_span(request.headers["range"], size)
        except Unsatisfiable as error:
            os.close(descriptor)
            headers["Content-Range"] = f"bytes */{size}"
            message = f"The file has {size} bytes, none of those asked for."
            raise PageError(416, "no_such_range", message, headers) from error
    headers["Content-Length"] = str(size if span is None else span.size)
    if span is not None:
        headers["Content-Range"] = f"bytes {span.first}-{span.last}/{size}"
    sent = Span(0, -1) if request.method == "HEAD" else span or Span(0, size - 1)
    return _FileReply(descriptor, sent, 200 if span is None else 206, headers, media_type)


class _FileReply(StreamingResponse):
    """Part of an open file; reading it stops where the client goes away."""

    def __init__(
        self, descriptor: int, span: Span, status: int, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(_chunks(descriptor, span), status, headers, media_type)
        self._descriptor = descriptor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)


async def _chunks(descriptor: int, span: Span) -> AsyncIterator[bytes]:
    place, left = span.first, span.size
    while left:
        chunk = await run_in_threadpool(os.pread, descriptor, min(_CHUNK, left), place)
        if not chunk:
            # The file became shorter meanwhile: the connection ends before its announced length.
            raise OSError("a file became shorter while it was sent")
        place, left = place + len(chunk), left - len(chunk)
        yield chunk
