"""The first stage of a search: the rows of a feature file that are nearest to a query."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from uniadapter.utils.options import near_name

from .ann import AnnIndex, HnswIndex, HnswOptions, IvfPqIndex, IvfPqOptions
from .envelope import open_envelope, write_envelope
from .vectors import Vectors, best_of, checked_rows, exact_search

#: Rows up to which ``kind='auto'`` computes all similarities.
EXACT_ROWS = 100_000
#: Bytes of a graph, with its rows, up to which ``kind='auto'`` builds one.
HNSW_BYTES = 4 * 2**30
#: Allowed rows up to which all of them are computed, and the share of all up to which they are.
_FEW_ROWS, _FEW_SHARE = 20_000, 0.1
#: Growth since the training of IVF-PQ from which on its lists and bytes don't fit any more.
_GROWTH = 4


@dataclass(frozen=True)
class ExactOptions:
    """``kind='exact'`` has no options."""


#: The options of each kind.
OPTIONS: dict[str, type] = {
    "exact": ExactOptions,
    "hnsw": HnswOptions,
    "ivf_pq": IvfPqOptions,
}
_INDEXES: dict[str, Any] = {"hnsw": HnswIndex, "ivf_pq": IvfPqIndex}
#: Options that a search reads, and that may be changed.
_SEARCHED = ("ef_search", "nprobe", "refine")


def choose_kind(count: int, size: int) -> str:
    """The kind that ``'auto'`` stands for.

    Exact search up to :data:`EXACT_ROWS` rows, then HNSW while its graph takes no more than
    :data:`HNSW_BYTES`, then IVF-PQ.

    Args:
        count: Rows.
        size: Numbers of a row.
    """
    if count <= EXACT_ROWS:
        return "exact"
    return "hnsw" if count * (4 * size + 8 * HnswOptions.m) <= HNSW_BYTES else "ivf_pq"


class FirstStage:
    """Nearest rows by cosine, the inner product of normalised rows.

    :meth:`build` and :meth:`load` make one. Rows are numbered in the order in which they came, as
    in the file of features. Rows that are deleted stay, and are masked by ``allowed``.

    Attributes:
        kind: ``'exact'``, ``'hnsw'`` or ``'ivf_pq'``.
        asked: What was asked for, which may be ``'auto'``.
        options: Those of the kind, see :data:`OPTIONS`.
        size: E, numbers of a row.
        built_on: Rows that there were when it was built.
    """

    def __init__(self, facts: Mapping[str, Any], vectors: Vectors, index: AnnIndex | None) -> None:
        self.kind: str = facts["kind"]
        self.asked: str = facts["asked"]
        self.options: Any = OPTIONS[self.kind](**facts["options"])
        self.size: int = facts["size"]
        self.built_on: int = facts["built_on"]
        self._vectors, self._index = vectors, index

    @classmethod
    def build(cls, features: np.ndarray, kind: str = "auto", **options: Any) -> FirstStage:
        """Build a first stage.

        Args:
            features: (V, E) normalised floats. Float32 ones, a memory map for one, are kept and not
                copied, and must not change.
            kind: ``'exact'``, ``'hnsw'``, ``'ivf_pq'`` or ``'auto'``, see :func:`choose_kind`.
            options: Of the kind, see :data:`OPTIONS`.

        Raises:
            ImportError: If the kind needs FAISS, which is not installed.
            ValueError: If the features are no normalised rows, or the kind or an option is unknown
                or doesn't fit.
        """
        features = checked_rows(np.asanyarray(features), None, "the features")
        count, size = features.shape
        if kind not in ("auto", *OPTIONS):
            raise ValueError(f"kind={kind!r} is unknown: choose from {['auto', *OPTIONS]}.")
        chosen = choose_kind(count, size) if kind == "auto" else kind
        checked = _options(chosen, kind, count, options)
        vectors = Vectors(size)
        vectors.append(features)
        index = _INDEXES[chosen].build(vectors, checked) if chosen in _INDEXES else None
        facts = {"kind": chosen, "asked": kind, "options": asdict(checked)}
        return cls({**facts, "size": size, "built_on": count}, vectors, index)

    def __len__(self) -> int:
        return len(self._vectors) if self._index is None else int(self._index.index.ntotal)

    @property
    def stale(self) -> bool:
        """Whether it should be built anew, as it has grown by much."""
        if self.asked == "auto" and choose_kind(len(self), self.size) != self.kind:
            return True
        return self.kind == "ivf_pq" and len(self) > _GROWTH * self.built_on

    def tune(self, **options: Any) -> None:
        """Change options that only a search reads: ``ef_search``; ``nprobe`` and ``refine``.

        Raises:
            ValueError: If an option is unknown, or can only be given to :meth:`build`.
        """
        fixed = [name for name in options if name not in _SEARCHED]
        if fixed and hasattr(self.options, fixed[0]):
            raise ValueError(f"{fixed[0]} can only be given to build(): build the stage anew.")
        known = {**asdict(self.options), **options}
        self.options = _options(self.kind, self.kind, len(self), known)

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest rows of each query.

        Exact search finds those with the greatest inner products in float64, rounded to float32; of
        equal ones the first. The others may miss some, and give their products alike, except that
        IVF-PQ without the features at hand can only estimate them. However few rows are allowed,
        k of them are found if there are as many.

        Args:
            queries: (Q, E) normalised floats.
            k: Rows wanted, at least 1.
            allowed: (V,) booleans, the rows that may be found; None: all.

        Returns:
            (Q, k) float32 similarities, descending, and (Q, k) int64 row numbers. Where there are
            fewer than k rows, minus infinity and -1.

        Raises:
            ValueError: If a shape is another, or the queries are no normalised rows.
        """
        queries = checked_rows(np.asanyarray(queries), self.size, "the queries")
        if k < 1:
            raise ValueError(f"k={k} must be at least 1.")
        count = len(self)
        if allowed is not None:
            if allowed.shape != (count,) or allowed.dtype != bool:
                raise ValueError(
                    f"allowed has shape {allowed.shape} and type {allowed.dtype}, expected a "
                    f"boolean for each of the {count} rows."
                )
            count = int(allowed.sum())
            allowed = None if count == len(self) else allowed
        few = allowed is not None and count <= max(_FEW_ROWS, _FEW_SHARE * len(self))
        vectors = self._rows()
        if self._index is None or not count or (few and vectors is not None):
            return exact_search(vectors or Vectors(self.size), queries, k, allowed)
        return self._approximate(queries, k, allowed, count / len(self))

    def _approximate(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, share: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`search`, by FAISS; all rows of a query for which it finds too few."""
        if self._index is None:
            raise ValueError("exact search has no index of FAISS.")
        vectors, count = self._rows(), round(share * len(self))
        refine = 1 if vectors is None else getattr(self.options, "refine", 1)
        wanted = min(k * refine, count)
        similarities, rows = self._index.search(queries, wanted, self.options, allowed, share)
        short = np.flatnonzero((rows >= 0).sum(axis=1) < min(k, count))
        if vectors is None:
            if len(short):
                # All lists.
                found = self._index.search(queries[short], wanted, self.options, allowed, 1e-9)
                similarities[short], rows[short] = found
            return _widened(similarities, k, -np.inf), _widened(rows, k, -1)
        best = [
            best_of(vectors, query, np.unique(own[own >= 0]), k)
            for query, own in zip(queries, rows, strict=True)
        ]
        similarities = np.array([one[0] for one in best]).reshape(len(queries), k)
        rows = np.array([one[1] for one in best]).reshape(len(queries), k)
        if len(short):
            found = exact_search(vectors, queries[short], k, allowed)
            similarities[short], rows[short] = found
        return similarities, rows

    def _rows(self) -> Vectors | None:
        """All rows, where they are at hand."""
        if isinstance(self._index, HnswIndex):
            vectors = Vectors(self.size)
            vectors.append(self._index.stored())
            return vectors
        return self._vectors if len(self._vectors) == len(self) else None

    def add(self, features: np.ndarray) -> None:
        """Add rows behind those that there are.

        Args:
            features: (V, E) normalised floats, kept like those of :meth:`build`.

        Raises:
            ValueError: If they are no normalised rows of this size.
        """
        features = checked_rows(np.asanyarray(features), self.size, "the features")
        known, before = self._rows() is not None, self.stale
        if self._index is not None:
            for start in range(0, len(features), 2**16):
                self._index.add(features[start : start + 2**16], self.options)
        if known and not isinstance(self._index, HnswIndex):
            self._vectors.append(features)
        if self.stale and not before:
            print_log(
                f"The first stage (kind={self.kind!r}) was built of {self.built_on} rows and has "
                f"{len(self)} now: build it anew, for {choose_kind(len(self), self.size)!r} or "
                "lists that fit them.",
                "current",
                logging.WARNING,
            )

    def save(self, path: str | Path) -> None:
        """Write it to a file, whole or not at all.

        That of exact search and of HNSW holds the rows; that of IVF-PQ a few bytes of each.

        Args:
            path: The file.
        """
        rows = self._rows()
        facts = {
            "kind": self.kind,
            "asked": self.asked,
            "options": asdict(self.options),
            "size": self.size,
            "built_on": self.built_on,
            "count": len(self),
            "sample": None if rows is None else _sample(rows, len(self)),
        }
        write_envelope(path, facts, self._write)

    def _write(self, file: Any) -> None:
        if self._index is not None:
            self._index.write(file)
            return
        for _, block in self._vectors.blocks():
            file.write(np.ascontiguousarray(block).tobytes())

    @classmethod
    def load(cls, path: str | Path, features: np.ndarray | None = None) -> FirstStage:
        """Read a file of :meth:`save`.

        Args:
            path: The file.
            features: (V, E), the rows that it was built of and added, and perhaps further ones,
                which are added. IVF-PQ estimates similarities without.

        Raises:
            FileNotFoundError: If there is no such file.
            ImportError: If the kind needs FAISS, which is not installed.
            ValueError: If it is damaged or of another kind of file, or of other features.
        """
        with open_envelope(path) as (facts, file):
            count, size = facts["count"], facts["size"]
            index, vectors = None, Vectors(size)
            if facts["kind"] in _INDEXES:
                index = _INDEXES[facts["kind"]].read(file)
                if (index.index.ntotal, index.index.d) != (count, size):
                    raise ValueError(f"{path}: its content is of another size than it says.")
            elif features is None:
                rows = np.fromfile(file, np.float32).reshape(count, size)
                vectors.append(rows)
        stage = cls(facts, vectors, index)
        if features is None:
            return stage
        features = checked_rows(np.asanyarray(features), size, "the features")
        if not isinstance(index, HnswIndex):
            vectors.append(features[:count])
        given = Vectors(size)
        given.append(features[:count])
        if len(given) < count or facts["sample"] not in (None, _sample(given, count)):
            raise ValueError(
                f"{path} is of {count} rows of other features than those {len(features)}: build "
                "the first stage anew."
            )
        if len(features) > count:
            stage.add(features[count:])
        return stage


def _widened(found: np.ndarray, k: int, filling: float) -> np.ndarray:
    """The first k columns, filled up where there are fewer."""
    found = found[:, :k]
    return np.pad(found, ((0, 0), (0, k - found.shape[1])), constant_values=filling)


def _sample(rows: Vectors, count: int) -> str:
    """Digest of a few rows, by which another file of features is told."""
    some = np.unique(np.linspace(0, max(count - 1, 0), 64).astype(np.int64))
    return hashlib.sha256(rows.take(some[:count]).tobytes()).hexdigest()


def _options(kind: str, asked: str, count: int, given: Mapping[str, Any]) -> Any:
    """The options of a kind, checked."""
    known = {field.name: field for field in fields(OPTIONS[kind])}
    for name, value in given.items():
        if name not in known:
            chosen = f" (which 'auto' chose for {count} rows)" if asked != kind else ""
            raise ValueError(
                f"{name} is no option of kind={kind!r}{chosen}, which has "
                f"{', '.join(known) or 'none'}.{near_name(name, known)}"
            )
        if name == "opq":
            right = isinstance(value, bool)
        else:
            least = 0 if name == "seed" else 2 if name == "m" else 1
            whole = isinstance(value, int) and not isinstance(value, bool)
            right = (value is None and known[name].default is None) or (whole and value >= least)
        if not right:
            raise ValueError(f"{name}={value!r} of kind={kind!r} must be a number above 0.")
    return replace(OPTIONS[kind](), **given)
