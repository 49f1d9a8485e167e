"""The JSON API: searching, files, folders, status."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from starlette.concurrency import run_in_threadpool

from uniadapter.version import __version__

from .answers import (
    ERRORS,
    ErrorAnswer,
    FileAnswer,
    FilesAnswer,
    FolderAnswer,
    Limits,
    SearchAnswer,
    Seconds,
    StatusAnswer,
)
from .library import shown_path
from .queries import FileQuery, Filters, TextQuery, checked_text, filters_of
from .state import PageState
from .uploads import received

_UPLOAD_ERRORS: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    413: {"model": ErrorAnswer, "description": "The upload is too large."},
    415: {"model": ErrorAnswer, "description": "It is no picture and no video."},
}
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "A picture or a video.",
                        },
                        **Filters.model_json_schema()["properties"],
                    },
                }
            }
        },
    }
}


def add_search_routes(app: FastAPI, state: PageState) -> None:
    """Add them to an application."""

    async def answer(filters: Filters, **query: Any) -> SearchAnswer:
        library = await run_in_threadpool(state.library)
        found, waited = await state.search(filters, library, **query)
        result = found.result
        hits = await asyncio.gather(*(state.answer(hit, found.library) for hit in result.hits))
        stages = {name: result.seconds.get(name, 0.0) for name in Seconds.model_fields}
        return SearchAnswer(
            hits=[hit for hit in hits if hit is not None],
            searched=result.searched,
            reranked=result.reranked,
            version=found.library.version,
            seconds=Seconds(**{**stages, "waited": waited}),
        )

    @app.get("/api/search", responses=ERRORS, summary="Search by a sentence")
    async def search(query: Annotated[TextQuery, Query()]) -> SearchAnswer:
        return await answer(query, text=checked_text(query.text, state.options))

    @app.post(
        "/api/search",
        responses=_UPLOAD_ERRORS,
        openapi_extra=_FORM,
        summary="Search by a picture or a video",
    )
    async def search_by_medium(request: Request) -> SearchAnswer:
        async with received(request, state.options.max_upload) as upload:
            filters = filters_of(upload.fields)
            await state.previews.check_upload(upload.path, upload.kind)
            return await answer(filters, **{upload.kind: str(upload.path)})

    _add_listing_routes(app, state)


def _add_listing_routes(app: FastAPI, state: PageState) -> None:
    @app.get("/api/files", responses=ERRORS, summary="Indexed files, by path")
    def files(query: Annotated[FileQuery, Query()]) -> FilesAnswer:
        library = state.library()
        folder = library.folder(query.folder) if query.folder else ""
        found = library.files(folder, query.kind)
        return FilesAnswer(
            total=len(found),
            files=[
                FileAnswer(
                    file_id=file.file_id,
                    path=shown_path(file.path),
                    kind=file.kind,
                    bytes=file.size,
                    shots=library.shots_of(file.file_id),
                )
                for file in found[query.offset : query.offset + query.limit]
            ],
        )

    @app.get("/api/folders", summary="Folders with indexed files, by path")
    def folders() -> list[FolderAnswer]:
        return state.library().folders

    @app.get("/api/status", summary="The index and the server")
    async def status() -> StatusAnswer:
        library = await run_in_threadpool(state.library)
        options = state.options
        return StatusAnswer(
            version=library.version,
            videos=library.folders[0].videos,
            images=library.folders[0].images,
            shots=library.shot_count,
            reranks=bool(state.searcher.engine.reranks),
            waiting=state.turnstile.inside,
            limits=Limits(text=options.max_text, upload=options.max_upload, topk=options.max_topk),
            examples=list(options.examples),
            server=__version__,
        )
