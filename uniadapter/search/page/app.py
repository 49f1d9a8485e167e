"""The page and its JSON API as one application."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from uniadapter.search.searcher import Searcher
from uniadapter.version import __version__

from .answers import PageError
from .guard import Guard
from .media_routes import add_media_routes
from .options import PageOptions
from .queries import said_of
from .search_routes import add_search_routes
from .state import PageState

_STATIC = Path(__file__).with_name("static")
#: Addresses of the page's own files, and their types.
STATIC_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/static/page.css": ("page.css", "text/css; charset=utf-8"),
    "/static/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/favicon.ico": ("icon.svg", "image/svg+xml"),
}
_REASONS = {404: "There is nothing at this address.", 405: "That can't be done here."}
_DESCRIPTION = (
    "Search in indexed videos and pictures by a sentence, a picture or a video. Every error is a "
    "JSON object of `status`, `code` and `message`."
)


def create_app(searcher: Searcher, options: PageOptions | None = None) -> Guard:
    """Make the application.

    Args:
        searcher: What finds shots, a :class:`~uniadapter.search.searcher.Searcher`.
        options: Limits; None takes the default ones.

    Returns:
        An ASGI application; ``.app`` is the FastAPI one inside.
    """
    options = options or PageOptions()
    state = PageState(searcher, options)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        state.close()

    # FastAPI's pages of documentation load scripts from elsewhere.
    app = FastAPI(
        title="uniadapter search",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.page = state
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(PageError, _page_error)
    app.add_exception_handler(Exception, _failed)
    add_search_routes(app, state)
    add_media_routes(app, state)
    for address, (name, media_type) in STATIC_FILES.items():
        _add_static(app, address, (_STATIC / name).read_bytes(), media_type)
    return Guard(app, options)


def _add_static(app: FastAPI, address: str, content: bytes, media_type: str) -> None:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    async def answer(request: Request) -> Response:
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    app.add_api_route(address, answer, methods=["GET", "HEAD"], include_in_schema=False)


def _invalid(request: Request, error: Exception) -> Response:
    errors = list(error.errors()) if isinstance(error, RequestValidationError) else []
    return PageError(422, "wrong_value", said_of(errors)).response()


def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    message = _REASONS.get(status, "The request can't be answered.")
    return PageError(status, {404: "not_found"}.get(status, "refused"), message, headers).response()


def _page_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, PageError):
        raise error
    return error.response()


def _failed(request: Request, error: Exception) -> Response:
    return PageError(500, "failed", "The server failed; its log says why.").response()
