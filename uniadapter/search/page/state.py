"""What the routes share: the searcher, its index, the model's turnstile and the previews."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from uniadapter.datasets import MediaError
from uniadapter.search.hits import Hit, SearchResult
from uniadapter.search.searcher import Searcher

from .answers import HitAnswer, PageError, Play
from .catalog import library_at, library_of, preview_folder, version_of
from .library import Library, shown_path
from .options import PageOptions
from .previews import Previews
from .queries import Filters
from .turnstile import Turnstile

logger = logging.getLogger("uniadapter.page")


@dataclass(frozen=True)
class Found:
    """A result and the state of the index that it is of."""

    result: SearchResult
    library: Library


class PageState:
    """What lives as long as the server.

    Args:
        searcher: Finds shots.
        options: Limits.
    """

    def __init__(self, searcher: Searcher, options: PageOptions) -> None:
        self.searcher = searcher
        self.options = options
        self.turnstile = Turnstile(options.queue)
        self._loading = threading.Lock()
        self._library = library_of(searcher.index)
        folder, self._temporary = preview_folder(searcher.index)
        self.previews = Previews(folder, options)

    def close(self) -> None:
        """End threads and processes."""
        self.previews.close()
        self.turnstile.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def library(self) -> Library:
        """The index as it is now; read again where it was updated. Blocks.

        Raises:
            PageError: If it can't be read any more.
        """
        with self._loading, _usable():
            if version_of(self.searcher.index) != self._library.version:
                self._library = library_of(self.searcher.index)
            return self._library

    async def search(self, filters: Filters, library: Library, **query: Any) -> tuple[Found, float]:
        """Search as soon as the model is free.

        Args:
            filters: What of the index.
            library: The index, for its folders.
            **query: ``text``, ``image`` or ``video``.

        Returns:
            What was found, and the seconds until the model was free.

        Raises:
            PageError: If the query is refused, or too many wait.
        """
        if filters.topk > self.options.max_topk:
            message = f"topk: at most {self.options.max_topk} results are given."
            raise PageError(422, "wrong_value", message)
        folder = library.folder(filters.folder) if filters.folder else None
        arguments = {**query, **filters.model_dump(exclude={"text"}), "folder": folder}
        timed = await self.turnstile.run(self._call(arguments))
        return timed.result, timed.waited

    def _call(self, arguments: dict[str, Any]) -> Callable[[], Found]:
        def call() -> Found:
            with _usable():
                self.searcher.refresh()
            result = self._search(arguments)
            return Found(result, self._searched())

        return call

    def _searched(self) -> Library:
        """The state that was searched just now, however often the index was updated since."""
        snapshot = self.searcher.snapshot
        with self._loading, _usable():
            if str(snapshot.state.version) != self._library.version:
                self._library = library_at(self.searcher.index, snapshot)
            return self._library

    def _search(self, arguments: dict[str, Any]) -> SearchResult:
        try:
            return self.searcher.search(**arguments)
        except MediaError as error:
            # Where it was kept for the search is nobody's business.
            message = f"The upload: {error.reason or 'it can not be read'}."
            raise PageError(422, "unreadable_upload", message) from error
        except ValueError as error:
            # It may have been replaced since it was looked at.
            with _usable():
                self.searcher.refresh()
            raise PageError(422, "query_refused", str(error)) from error
        except OSError as error:
            raise _unusable(error) from error

    async def answer(self, hit: Hit, library: Library) -> HitAnswer | None:
        """A result as it is sent; None where its file left the index meanwhile."""
        try:
            file, shot = library.file(hit.file_id), library.shot(hit.shot_id)
        except PageError:
            return None
        previews = self.previews
        part = previews.part_of(shot, hit.best_moment)
        preview = f"/preview/{shot.shot_id}" + (f"?part={part}" if part else "")
        offset = previews.offset(shot, part)
        native = await previews.native(file)
        begin = 0.0 if native else offset
        length = self.options.preview_seconds
        start, end = (hit.start, hit.end) if native else (offset, min(hit.end, offset + length))
        play = Play(
            url=f"/media/{file.file_id}" if native else preview,
            fallback=preview if native else None,
            fallback_offset=offset,
            offset=begin,
            start=max(0.0, start - begin),
            end=max(0.0, end - begin),
            at=max(0.0, hit.best_moment - begin),
        )
        return HitAnswer(
            shot_id=hit.shot_id,
            file_id=hit.file_id,
            path=shown_path(hit.path),
            kind=hit.kind,
            start=hit.start,
            end=hit.end,
            best_moment=hit.best_moment,
            score=_finite(hit.score),
            similarity=_finite(hit.similarity),
            frame_times=list(hit.frame_times),
            frame_weights=[_finite(weight) for weight in hit.frame_weights],
            thumb=f"/thumb/{shot.shot_id}?at={hit.best_moment:.1f}",
            play=play,
        )


@contextmanager
def _usable() -> Iterator[None]:
    """Say that an index can't be read: removed, damaged or of another model while the page runs."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise _unusable(error) from error


def _unusable(error: Exception) -> PageError:
    logger.error("The index can't be read: %s", error)
    return PageError(503, "index_unusable", str(error))


def _finite(value: float) -> float | None:
    """A number that JSON has a word for."""
    return value if math.isfinite(value) else None
