"""Errors as JSON, and what answers of the API hold."""

from __future__ import annotations

from typing import Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field


class PageError(Exception):
    """A request that is refused, or can't be answered.

    Args:
        status: HTTP status, 400 or above.
        code: One word for programs.
        message: A sentence or two for people.
        headers: Further fields of the reply.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers

    def response(self) -> JSONResponse:
        """The reply."""
        content = {"status": self.status, "code": self.code, "message": self.message}
        headers = {"Cache-Control": "no-store", **(self.headers or {})}
        return JSONResponse(content, self.status, headers)


class ErrorAnswer(BaseModel):
    """Every error."""

    status: int = Field(description="HTTP status.")
    code: str = Field(description="One word for programs, such as `text_too_long`.")
    message: str = Field(description="What is wrong and what to do, for people.")


class Play(BaseModel):
    """How a browser plays a clip: `at` seconds into the file behind `url` is its best moment."""

    url: str = Field(description="The file itself, or a preview where browsers can't play it.")
    fallback: str | None = Field(description="A preview, for a browser that can't play `url`.")
    fallback_offset: float = Field(description="Second of the file at which `fallback` starts.")
    offset: float = Field(description="Second of the file at which `url` starts.")
    start: float = Field(description="Where the shot starts behind `url`, in seconds.")
    end: float = Field(description="Where the shot ends behind `url`, in seconds.")
    at: float = Field(description="The best moment behind `url`, in seconds.")


class HitAnswer(BaseModel):
    """One result."""

    shot_id: int = Field(description="Number of the shot, for `/preview` and `/thumb`.")
    file_id: int = Field(description="Number of the file, for `/media`.")
    path: str = Field(description="The file, from the indexed folder on.")
    kind: Literal["video", "image"]
    start: float = Field(description="Where the shot starts in the file, in seconds.")
    end: float = Field(description="Where the shot ends in the file, in seconds.")
    best_moment: float = Field(description="Second of the file that fits the query best.")
    score: float | None = Field(description="What results are ordered by.")
    similarity: float | None = Field(description="Cosine of the first stage.")
    frame_times: list[float] = Field(description="Seconds of the file of the frames read.")
    frame_weights: list[float | None] = Field(description="Their weights, which sum to 1.")
    thumb: str = Field(description="Address of a small picture of the best moment.")
    play: Play


class Seconds(BaseModel):
    """What the parts of a search took, in seconds."""

    encode: float = Field(description="Encoding the query.")
    first_stage: float = Field(description="Nearest neighbours among all shots.")
    rerank: float = Field(description="Scoring the shortlist with the matching model.")
    waited: float = Field(description="Waiting for other searches.")


class SearchAnswer(BaseModel):
    """Results of a search, the best first."""

    hits: list[HitAnswer]
    searched: int = Field(description="Shots that were compared with the query.")
    reranked: int = Field(description="Shots that the matching model scored.")
    version: str = Field(description="State of the index that was searched.")
    seconds: Seconds


class FileAnswer(BaseModel):
    """An indexed file."""

    file_id: int
    path: str = Field(description="From the indexed folder on.")
    kind: Literal["video", "image"]
    bytes: int
    shots: int = Field(description="Shots that the file was cut into; 1 of a picture.")


class FilesAnswer(BaseModel):
    """A page of the list of files, by path."""

    files: list[FileAnswer]
    total: int = Field(description="Files that fit, on all pages.")


class FolderAnswer(BaseModel):
    """A folder, with everything below it."""

    path: str = Field(description="From the indexed folder on; empty for that folder itself.")
    videos: int
    images: int


class Limits(BaseModel):
    """What a request may be."""

    text: int = Field(description="Characters of a text.")
    upload: int = Field(description="Bytes of an upload.")
    topk: int = Field(description="Results of one search.")


class StatusAnswer(BaseModel):
    """The index and the server."""

    version: str = Field(description="State of the index; it changes with every update.")
    videos: int
    images: int
    shots: int
    reranks: bool = Field(description="Whether results are scored by a matching model.")
    waiting: int = Field(description="Searches that run or wait.")
    limits: Limits
    examples: list[str] = Field(description="Sentences to begin with.")
    server: str = Field(description="Version of the package.")


#: Of each route in OpenAPI: what any of them may answer beside its result.
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The request can't be read."},
    404: {"model": ErrorAnswer, "description": "There is no such thing in the index."},
    422: {"model": ErrorAnswer, "description": "A value is wrong; the message names it."},
    503: {"model": ErrorAnswer, "description": "Too many searches wait; see `Retry-After`."},
}
