"""Files of the index, previews and small pictures; each by its number, never by a path."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from .answers import ERRORS, ErrorAnswer, PageError
from .file_reply import reply_with_file
from .previews import Made
from .ranges import Validators
from .state import PageState

#: Asked for again each time, answered in short where nothing changed.
_FRESH = "private, no-cache"
_Number = Annotated[int, Path(ge=0, lt=2**63)]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    206: {"description": "The part that a field `Range` asks for."},
    409: {"model": ErrorAnswer, "description": "The file was changed after it was indexed."},
    416: {"model": ErrorAnswer, "description": "The file has none of the bytes asked for."},
}


def add_media_routes(app: FastAPI, state: PageState) -> None:
    """Add them to an application."""
    options: dict[str, Any] = {"responses": _RESPONSES, "response_class": Response}

    def media(request: Request, file_id: _Number) -> Response:
        file = state.library().file(file_id)
        descriptor = file.open()
        return reply_with_file(request, descriptor, file.validators, file.media_type, _FRESH)

    async def preview(
        request: Request,
        shot_id: _Number,
        part: Annotated[int, Query(ge=0, lt=2**31, description="Of a long shot's previews.")] = 0,
    ) -> Response:
        library = await run_in_threadpool(state.library)
        shot = library.shot(shot_id)
        made = await state.previews.preview(library.file(shot.file_id), shot, part)
        return await run_in_threadpool(_reply_with_made, request, made)

    async def thumb(
        request: Request,
        shot_id: _Number,
        at: Annotated[
            float, Query(ge=0, allow_inf_nan=False, description="Second of the file.")
        ] = 0.0,
    ) -> Response:
        library = await run_in_threadpool(state.library)
        shot = library.shot(shot_id)
        made = await state.previews.thumb(library.file(shot.file_id), shot, at)
        return await run_in_threadpool(_reply_with_made, request, made)

    routes = (
        ("/media/{file_id}", media, "An indexed file"),
        ("/preview/{shot_id}", preview, "A shot as a clip that browsers play"),
        ("/thumb/{shot_id}", thumb, "A moment of a shot as a small picture"),
    )
    for address, route, summary in routes:
        app.add_api_route(address, route, methods=["GET"], summary=summary, **options)
        app.add_api_route(address, route, methods=["HEAD"], include_in_schema=False)


def _reply_with_made(request: Request, made: Made) -> Response:
    try:
        descriptor = os.open(made.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        # Others made so many meanwhile that this one had to go.
        message = "The preview is gone already: ask again."
        raise PageError(503, "busy", message, {"Retry-After": "1"}) from error
    validators = Validators(made.etag, os.fstat(descriptor).st_mtime)
    return reply_with_file(request, descriptor, validators, made.media_type, _FRESH)
