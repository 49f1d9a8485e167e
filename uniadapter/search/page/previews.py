"""What a browser can show of any indexed file: small pictures and clips, made once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from .answers import PageError
from .cache import DiskCache
from .library import MEDIA_TYPES, FileEntry, ShotEntry, shown_path
from .media_worker import ENCODERS, encoder
from .options import PageOptions
from .worker_pool import WorkerError, WorkerPool

logger = logging.getLogger("uniadapter.page")

#: Changes where the same recipe gives another file, so that those of before are not found.
_RECIPES = 2
_THUMB_SIDE = 480
_PICTURE_SIDE = 1600
_SHOWN_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif"}
_KNOWN_FILES = 20_000
_MOST_IN_WORK = 256


class Made(NamedTuple):
    """A file of the cache."""

    path: Path
    etag: str
    media_type: str


class Previews:
    """Makes and keeps them.

    Args:
        folder: Where they are kept.
        options: Limits.
    """

    def __init__(self, folder: Path, options: PageOptions) -> None:
        self.options = options
        self.cache = DiskCache(folder, options.cache_bytes)
        # Clips take seconds, stills a moment: they don't wait for each other.
        self._clips = WorkerPool(options.workers, options.preview_timeout)
        self._stills = WorkerPool(1, min(options.preview_timeout, 20.0))
        self._encoder = encoder()
        self._in_work: dict[str, asyncio.Task[Made]] = {}
        self._native: OrderedDict[str, bool] = OrderedDict()

    def close(self) -> None:
        """End the processes."""
        self._clips.close()
        self._stills.close()

    async def native(self, file: FileEntry) -> bool:
        """Whether browsers show a file as it is."""
        if file.kind == "image":
            return file.location.suffix.lower() in _SHOWN_PICTURES
        if file.rate is not None:
            return False
        # What a file of Matroska is, its ending says.
        key = f"{file.content}{file.location.suffix.lower()}"
        if key not in self._native:
            try:
                answer = await self._stills.ask("probe", source=str(file.location))
                known = bool(answer["native"])
            except WorkerError:
                known = False
            self._native[key] = known
            if len(self._native) > _KNOWN_FILES:
                self._native.popitem(last=False)
        return self._native[key]

    async def check_upload(self, path: Path, kind: str) -> None:
        """Read an upload in a process of its own.

        Raises:
            PageError: If it is broken or too large.
        """
        arguments: dict[str, Any] = {"source": str(path), "pixels": self.options.max_pixels}
        if kind == "video":
            arguments["seconds"] = self.options.max_seconds
        job = "check_video" if kind == "video" else "check_picture"
        try:
            await self._stills.ask(job, **arguments)
        except WorkerError as error:
            raise PageError(422, "unreadable_upload", f"The upload: {error}.") from error

    def part_of(self, shot: ShotEntry, at: float) -> int:
        """Which of a shot's previews shows a moment of the file."""
        part = int((at - shot.start) / self.options.preview_seconds)
        return max(0, min(part, self.parts(shot) - 1))

    def parts(self, shot: ShotEntry) -> int:
        """How many previews a shot has."""
        return max(1, math.ceil((shot.end - shot.start) / self.options.preview_seconds - 1e-6))

    def offset(self, shot: ShotEntry, part: int) -> float:
        """Second of the file at which a preview starts."""
        return shot.start + part * self.options.preview_seconds

    async def preview(self, file: FileEntry, shot: ShotEntry, part: int) -> Made:
        """A clip of a shot, or a picture, that browsers show.

        Raises:
            PageError: If there is no such part, or it can't be made.
        """
        if file.kind == "image":
            return await self._made(file, self._stills, ".jpg", "picture", side=_PICTURE_SIDE)
        if part >= self.parts(shot):
            raise PageError(404, "no_such_part", f"The shot has {self.parts(shot)} previews.")
        if self._encoder is None:
            message = "The server's PyAV has no encoder for videos that browsers play."
            raise PageError(501, "no_encoder", message)
        start = self.offset(shot, part)
        end = min(shot.end, start + self.options.preview_seconds)
        if shot.end <= shot.start:
            end = start + self.options.preview_seconds
        times = {"start": round(start, 3), "end": round(end, 3)}
        side = self.options.preview_side
        ending = ENCODERS[self._encoder]
        return await self._made(file, self._clips, ending, "clip", side=side, **times)

    async def thumb(self, file: FileEntry, shot: ShotEntry, at: float) -> Made:
        """A small picture of a moment of a shot.

        Raises:
            PageError: If it can't be made.
        """
        if file.kind == "image":
            return await self._made(file, self._stills, ".jpg", "picture", side=_THUMB_SIDE)
        # Tenths of a second are as many different pictures as anybody needs.
        at = round(max(shot.start, min(at, shot.end)), 1)
        return await self._made(file, self._stills, ".jpg", "still", side=_THUMB_SIDE, at=at)

    async def _made(
        self, file: FileEntry, pool: WorkerPool, ending: str, job: str, **arguments: Any
    ) -> Made:
        """A file of the cache, made by the first that asks while the others wait for it."""
        known = [file.content, file.rate, job, self._encoder, sorted(arguments.items())]
        recipe = json.dumps([_RECIPES, *known])
        key = hashlib.sha256(recipe.encode()).hexdigest()[:40]
        made = Made(Path(), f'"{key}"', MEDIA_TYPES[ending])
        try:
            path = await asyncio.to_thread(self.cache.find, key + ending)
        except OSError as error:
            raise _no_room(error) from error
        if path is not None:
            return made._replace(path=path)
        task = self._in_work.get(key)
        if task is None:
            if len(self._in_work) >= _MOST_IN_WORK:
                message = "Too many previews are being made: come again in a moment."
                raise PageError(503, "busy", message, {"Retry-After": "2"})
            work = self._make(file, pool, key + ending, job, arguments, made)
            task = asyncio.create_task(work)
            self._in_work[key] = task
            task.add_done_callback(lambda _: self._in_work.pop(key, None))
        # Whoever goes away must not end it for the others.
        return await asyncio.shield(task)

    async def _make(
        self,
        file: FileEntry,
        pool: WorkerPool,
        name: str,
        job: str,
        arguments: dict[str, Any],
        made: Made,
    ) -> Made:
        source = await asyncio.to_thread(file.source)
        try:
            temporary = await asyncio.to_thread(self.cache.temporary, name)
        except OSError as error:
            raise _no_room(error) from error
        try:
            await pool.ask(job, **source, target=str(temporary), **arguments)
            return made._replace(path=await self._keep(name, temporary))
        except WorkerError as error:
            message = f"There is no preview of {shown_path(file.path)}: {error}."
            raise PageError(422, "no_preview", message) from error
        finally:
            with suppress(OSError):
                temporary.unlink()

    async def _keep(self, name: str, temporary: Path) -> Path:
        try:
            return await asyncio.to_thread(self.cache.add, name, temporary)
        except OSError as error:
            raise _no_room(error) from error


def _no_room(error: OSError) -> PageError:
    """Where nothing can be written any more, files are shown that need no preview."""
    logger.error("Previews can't be written: %s", error)
    message = "The server can't keep previews: look at its disk and the rights of its folder."
    return PageError(503, "no_room", message)
