"""Finding shots and pictures by a text, a picture or a video."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniadapter.retrieval import Texts

from .engine import EncodedMedia, SearchEngine, cosine_weights
from .first_stage import FirstStage
from .hits import Hit, Kind, SearchResult
from .index import SearchIndex
from .records import Snapshot
from .stage import first_stage_of

#: Shots of a shortlist that are re-ranked unless said otherwise.
SHORTLIST = 128
KINDS = ("video", "image")
#: Shots whose tokens are read at once.
_AT_ONCE = 16


@dataclass
class _View:
    """One state of an index, and what is found in it by."""

    snapshot: Snapshot
    stage: FirstStage
    _allowed: dict[tuple, np.ndarray] = field(default_factory=dict)

    def allowed(self, folder: tuple[str, ...], kind: Kind | None) -> np.ndarray:
        """(R,) the rows that filters leave; not to be changed."""
        key = (folder, kind)
        if key not in self._allowed:
            # Some filters come again and again, as the pages of one visitor do.
            if len(self._allowed) > 16:
                self._allowed.clear()
            snapshot = self.snapshot
            shots = np.ones(len(snapshot.shot_rows), bool)
            if folder or kind is not None:
                files = [
                    file.file_id
                    for file in snapshot.files.values()
                    if kind in (None, file.kind)
                    and PurePosixPath(file.path).parts[: len(folder)] == folder
                ]
                shots = np.isin(snapshot.shot_files, np.array(files, np.int64))
            rows = np.zeros(snapshot.state.rows, bool)
            rows[snapshot.shot_rows[shots]] = True
            self._allowed[key] = rows
        return self._allowed[key]

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Which shots rows are of."""
        return np.searchsorted(self.snapshot.shot_rows, rows)


@dataclass(frozen=True)
class _Query:
    """What is looked for: its features (1, E), and the text they are of, if it is one."""

    features: Tensor
    texts: Texts | None


class Searcher:
    """Answers queries about an index. Threads may share it; they take turns at the model.

    Args:
        index: The index.
        engine: What it was made with.

    Raises:
        ValueError: If it was made with another engine, or is damaged.
    """

    def __init__(self, index: SearchIndex, engine: SearchEngine) -> None:
        index.check(engine)
        self.index, self.engine = index, engine
        self._lock = RLock()
        self._view: _View | None = None
        self.refresh()

    @property
    def snapshot(self) -> Snapshot:
        """The state that was searched last, or is the next to be."""
        with self._lock:
            return self._seen().snapshot

    def _seen(self) -> _View:
        if self._view is None:
            raise ValueError("The index was never read.")
        return self._view

    def refresh(self) -> bool:
        """See what later updates did to the index; every search does it. Whether there was one."""
        with self._lock:
            state = self.index.state()
            if self._view is not None and self._view.snapshot.state == state:
                return False
            # An index that was made anew may be another one's.
            self.index = self.index.reopened()
            self.index.check(self.engine)
            snapshot = self.index.snapshot()
            self._view = _View(snapshot, first_stage_of(self.index, snapshot))
            return True

    def search(
        self,
        text: str | None = None,
        image: Any = None,
        video: Any = None,
        topk: int = 10,
        shortlist: int | None = None,
        folder: str | Path | None = None,
        kind: Kind | None = None,
        per_file: bool = False,
    ) -> SearchResult:
        """Find what goes with one text, picture or video.

        What is most similar to the query makes the shortlist; of a text, and where the engine can,
        it is re-ranked by image-text matching. By a picture or a video the similarity alone ranks.

        Args:
            text: A text; of a long one the model reads the beginning.
            image: A picture, see :mod:`uniadapter.apis.inputs`.
            video: A video, which is looked at as a whole.
            topk: Most results.
            shortlist: How many are re-ranked, and so can be found; 0: none are. None: 128, or
                ``topk`` where that is more.
            folder: Only files in this folder and those below it: a path below the indexed folder,
                or an absolute one.
            kind: Only ``'video'`` or ``'image'``.
            per_file: Only the best shot of each file.

        Returns:
            At most ``topk`` hits, fewer where there are not as many.

        Raises:
            MediaError: If the picture or video can't be read.
            ValueError: If there is not one query, it is blank, or an option is wrong.
        """
        self._check(topk, shortlist, kind)
        parts = self._parts_of(folder)
        seconds: dict[str, float] = {}
        with self._lock, torch.no_grad():
            self.refresh()
            view = self._seen()
            with _timed(seconds, "encode"):
                query = self._encode(text, image, video)
            with _timed(seconds, "first_stage"):
                allowed = view.allowed(parts, kind)
                reranks = query.texts is not None and self.engine.reranks and shortlist != 0
                length = max(topk, SHORTLIST) if shortlist is None else shortlist
                wanted = length if reranks else topk
                rows, similar = self._nearest(
                    view, query, wanted, allowed, per_file and not reranks
                )
            with _timed(seconds, "rerank"):
                scores = self._rerank(view, query, rows) if reranks else similar
                best = _best(view, rows, scores, topk, per_file)
                hits = tuple(self._hit(view, query, rows[i], scores[i], similar[i]) for i in best)
        count = len(rows) if reranks else 0
        return SearchResult(hits, int(allowed.sum()), seconds, count)

    @staticmethod
    def _check(topk: int, shortlist: int | None, kind: str | None) -> None:
        if isinstance(topk, bool) or not isinstance(topk, int) or topk < 1:
            raise ValueError(f"topk={topk!r} is the number of results, at least 1.")
        if shortlist is not None and (
            isinstance(shortlist, bool) or not isinstance(shortlist, int) or shortlist < 0
        ):
            raise ValueError(f"shortlist={shortlist!r} is how many are re-ranked, 0 for none.")
        if kind is not None and kind not in KINDS:
            raise ValueError(f"kind={kind!r} is one of {KINDS}, or None for both.")

    def _parts_of(self, folder: str | Path | None) -> tuple[str, ...]:
        """The folders on the way to a folder, from the indexed one on."""
        if folder is None:
            return ()
        path = PurePosixPath(folder)
        if path.is_absolute():
            try:
                path = path.relative_to(self.index.root)
            except ValueError as error:
                raise ValueError(f"folder={folder} is not within {self.index.root}.") from error
        if ".." in path.parts:
            raise ValueError(f"folder={folder}: name a folder without '..'.")
        return path.parts

    def _encode(self, text: str | None, image: Any, video: Any) -> _Query:
        queries = {"text": text, "image": image, "video": video}
        given = [name for name, query in queries.items() if query is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise ValueError(f"A query is one text, one picture or one video, got {got}.")
        if given == ["text"]:
            if not isinstance(text, str):
                raise ValueError(f"A text is expected, got {type(text).__name__}.")
            texts = self.engine.encode_texts([text])
            return _Query(texts.features, texts)
        kind: Kind = "image" if image is not None else "video"
        batch = self.engine.read([queries[kind]], kind)
        return _Query(self.engine.encode_media(batch).features, None)

    @staticmethod
    def _nearest(
        view: _View, query: _Query, count: int, allowed: np.ndarray, per_file: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and similarities of the nearest shots; as many files' where one of each counts."""
        most = int(allowed.sum())
        wanted = min(count, most)
        while wanted:
            similar, rows = view.stage.search(query.features.numpy(), wanted, allowed)
            found = rows[0] >= 0
            similarities, own = similar[0][found], rows[0][found]
            files = view.snapshot.shot_files[view.places(own)]
            if not per_file or wanted == most or len(np.unique(files)) >= count:
                return own, similarities
            wanted = min(4 * wanted, most)
        return np.empty(0, np.int64), np.empty(0, np.float32)

    def _rerank(self, view: _View, query: _Query, rows: np.ndarray) -> np.ndarray:
        """Scores of the shortlist by matching."""
        if query.texts is None:
            raise ValueError("A text alone is matched with media.")
        scores = np.empty(len(rows), np.float32)
        # As they lie on the disk.
        order = np.argsort(rows)
        for start in range(0, len(rows), _AT_ONCE):
            part = order[start : start + _AT_ONCE]
            media = view.snapshot.media(rows[part])
            scores[part] = self.engine.score(media, query.texts)[:, 0].numpy()
        if np.isnan(scores).any():
            raise ValueError(
                f"Scores are NaN: look for a diverged or wrongly loaded checkpoint, or for damage "
                f"to the index {self.index.folder} (`uniadapter index --check`)."
            )
        return scores

    def _hit(self, view: _View, query: _Query, row: int, score: float, similarity: float) -> Hit:
        snapshot = view.snapshot
        [place] = view.places(np.array([row])).tolist()
        file = snapshot.files[int(snapshot.shot_files[place])]
        times = snapshot.times(row)
        known = snapshot.media(np.array([row]), tokens=False)
        count = len(times)
        frames = EncodedMedia(
            known.features, None, known.frame_cls[:, :count], known.frame_features[:, :count]
        )
        if query.texts is None:
            weights = cosine_weights(frames.frame_features, query.features)[0, 0].numpy()
        else:
            weights = self.engine.frame_weights(frames, query.texts)[0, 0].numpy()
        start, end = float(snapshot.starts[place]), float(snapshot.ends[place])
        moments = np.clip(start + times.astype(np.float64), start, end).tolist()
        return Hit(
            shot_id=int(snapshot.shot_ids[place]),
            file_id=file.file_id,
            path=file.path,
            kind=file.kind,
            start=start,
            end=end,
            best_moment=moments[int(np.argmax(weights))],
            score=float(score),
            similarity=float(similarity),
            frame_times=tuple(moments),
            frame_weights=tuple(weights.tolist()),
        )


def _best(
    view: _View, rows: np.ndarray, scores: np.ndarray, topk: int, per_file: bool
) -> list[int]:
    """Places of the best rows, one of a file if so wanted; equal ones by similarity."""
    order = np.argsort(-scores, kind="stable")
    if per_file:
        files = view.snapshot.shot_files[view.places(rows[order])]
        order = order[np.sort(np.unique(files, return_index=True)[1])]
    best: list[int] = order[:topk].tolist()
    return best


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
