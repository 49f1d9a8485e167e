"""What an index knows: its files, its shots, what it was made with, and what an update left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from uniadapter.utils.json_files import parse_json

from .engine import EncodedMedia, SearchEngine
from .hits import Kind
from .reading import ReadOptions
from .store import Layout


class FileRecord(NamedTuple):
    """A file of the index.

    Attributes:
        file_id: Its number.
        path: Below the indexed folder, see :attr:`uniadapter.search.hits.Hit.path`.
        kind: Of the file.
        size: In bytes, when it was read.
        mtime_ns: Its time of change then.
        digest: Of its content; None where it could not be read.
        error: Why it could not be read; None where it could.
        gone: It is not there any more; its shots are kept until the index is compacted, in case it
            comes back, and are not found.
    """

    file_id: int
    path: str
    kind: Kind
    size: int
    mtime_ns: int
    digest: bytes | None
    error: str | None
    gone: bool


class ShotRecord(NamedTuple):
    """A shot, or a picture, of the index.

    Attributes:
        shot_id: Its number.
        file_id: That of its file.
        row: Of its numbers.
        start: Where it begins, in seconds from the file's first frame.
        end: Where it ends.
    """

    shot_id: int
    file_id: int
    row: int
    start: float
    end: float


@dataclass(frozen=True)
class Settings:
    """What an index was made with.

    Attributes:
        binding: Of the engine.
        layout: Of the numbers.
        reading: How files become shots.
        root: The folder that is indexed; relative to the index where it lies within it.
        source: Where the model comes from, plain; see :mod:`uniadapter.search.sources`.
    """

    binding: Mapping[str, str]
    layout: Layout
    reading: ReadOptions
    root: str
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, engine: SearchEngine, reading: ReadOptions, root: str, source: Any) -> Settings:
        """Those of a new index."""
        frames, *tokens = engine.token_shape
        shape = (tokens[0], tokens[1]) if engine.reranks else None
        layout = Layout(engine.feature_size, frames, shape)
        return cls(dict(engine.binding), layout, reading, root, dict(source or {}))

    def to_json(self) -> str:
        """As they are written."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """As :meth:`to_json` wrote them."""
        content = parse_json(text)
        layout = content["layout"]
        if layout["token_shape"] is not None:
            layout["token_shape"] = tuple(layout["token_shape"])
        reading = ReadOptions(**content["reading"])
        return cls(**{**content, "layout": Layout(**layout), "reading": reading})


class State(NamedTuple):
    """What changes with every update.

    Attributes:
        version: Number of the update.
        generation: Of the files of numbers.
        rows: How many rows they have.
    """

    version: int
    generation: int
    rows: int


@dataclass(frozen=True)
class Snapshot:
    """An index as one update left it, whatever later ones do.

    S shots, in the order of their rows; R rows, of which some may be no shot's any more.

    Attributes:
        state: Of that update.
        layout: Of the numbers.
        files: By their numbers.
        shot_ids: (S,) int64.
        shot_files: (S,) int64, the numbers of their files.
        shot_rows: (S,) int64, ascending.
        starts: (S,) float64.
        ends: (S,) float64.
        maps: The rows of each file of numbers, (R, ...).
    """

    state: State
    layout: Layout
    files: dict[int, FileRecord]
    shot_ids: np.ndarray
    shot_files: np.ndarray
    shot_rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    maps: dict[str, np.ndarray]

    @property
    def features(self) -> np.ndarray:
        """(R, E) float32."""
        return self.maps["features"]

    def media(self, rows: np.ndarray, tokens: bool = True) -> EncodedMedia:
        """What is known of shots by their rows (B,); their tokens, which are large, if wanted."""
        return self.layout.media_of(self.maps, rows, tokens)

    def times(self, row: int) -> np.ndarray:
        """Times of the frames of a shot, in seconds from its start."""
        times = np.asarray(self.maps["frames"][row, :, 0])
        return times[~np.isnan(times)]


FACTS = {
    "backbone": "the backbone's weights",
    "adapter": "the adapter and the heads",
    "model": "the model's config",
    "run": "how the model runs (tokens, precision)",
    "transforms": "the transforms",
}
#: What else an index or a corpus was made with is called, for messages; options by their names.
WORDS = {
    **FACTS,
    "feature_size": "length of features",
    "frames": "number of frames",
    "token_shape": "shape of tokens",
    "shot_seconds": "--shot-seconds",
    "frame_rate": "--frames",
    "batch_size": "--batch-size",
    "shards": "number of shards (--shard-size and the files)",
    "items": "choice of files, or of those in a shard (--shard-size)",
}


def described(source: Mapping[str, Any]) -> str:
    """Where a model comes from, in words."""
    if not source:
        return "a model that was given as an object"
    said = [str(source.get("model"))]
    said += [f"{key} {value}" for key, value in source.items() if key != "model" and value]
    return ", ".join(said)
