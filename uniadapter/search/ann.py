"""Approximate nearest neighbours by FAISS: graphs (HNSW) and lists of compressed rows (IVF-PQ)."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniadapter.utils.extras import import_extra

from .vectors import Vectors

#: Rows of which PQ's tables of 256 entries can be trained.
LEAST_ROWS = 256
#: Rows for each list that k-means sees; FAISS warns below 39 and takes 256 at most.
_ROWS_PER_LIST = 64
#: Rounds of training; FAISS's own 25 and 50 take minutes and make the bytes hardly better.
_PQ_ROUNDS, _OPQ_ROUNDS = 10, 6


def import_faiss(kind: str) -> Any:
    """Import FAISS.

    Args:
        kind: Of the first stage that needs it, for the error.

    Raises:
        ImportError: If it is not installed, or would end the process.
    """
    if "faiss" not in sys.modules and "libnvblas.so" in _loaded_libraries():
        # decord2 loads every CUDA library of the environment for all to see when it is imported
        # outside of utils.compat.import_decord, and this one answers FAISS's calls of BLAS.
        raise ImportError(
            f"a first stage of kind={kind!r} needs faiss, whose calls NVIDIA's libnvblas.so would "
            "answer, and end the process: 'import faiss' before what loaded that (decord), or "
            "import decord by uniadapter.utils.compat.import_decord()."
        )
    return import_extra("faiss", "search", f"a first stage of kind={kind!r}")


def _loaded_libraries() -> str:
    """Files that the process has mapped; none are known outside of Linux."""
    maps = Path("/proc/self/maps")
    return maps.read_text(errors="replace") if maps.exists() else ""


@dataclass(frozen=True)
class HnswOptions:
    """Options of ``kind='hnsw'``; the first three can't be changed later.

    Attributes:
        m: Links of a row to others, twice as many on the lowest layer.
        ef_construction: Rows looked at to find them.
        threads: That build. With more than one the graph, and so what is found, depends on chance.
        ef_search: Rows looked at in a search, at least as many as are wanted.
    """

    m: int = 32
    ef_construction: int = 80
    threads: int = 1
    ef_search: int = 256


@dataclass(frozen=True)
class IvfPqOptions:
    """Options of ``kind='ivf_pq'``; those above ``nprobe`` can't be changed later.

    Attributes:
        nlist: Lists that the rows are dealt to; None: the power of two next to 4 * sqrt(rows).
        pq_bytes: Bytes of a row; None: one for each eight numbers, 64 at most. Must divide E.
        opq: Turn the space first, so that the bytes lose less.
        seed: Of the sample that is trained on, and of k-means.
        nprobe: Lists that are looked into in a search; None: a sixteenth of them, 32 at least.
        refine: So many times the rows that are wanted are taken by their bytes, and ordered by
            their features where those are at hand.
    """

    nlist: int | None = None
    pq_bytes: int | None = None
    opq: bool = True
    seed: int = 0
    nprobe: int | None = None
    refine: int = 4


@contextmanager
def _threads(faiss: Any, count: int) -> Iterator[None]:
    """FAISS with so many threads."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class AnnIndex(ABC):
    """An index of FAISS.

    Args:
        index: The index.
    """

    kind: str

    def __init__(self, index: Any) -> None:
        self.faiss = import_faiss(self.kind)
        self.index = index

    @abstractmethod
    def add(self, rows: np.ndarray, options: Any) -> None:
        """Add rows (V, E) float32."""

    @abstractmethod
    def parameters(self, options: Any, share: float, selector: Any) -> Any:
        """Parameters of a search in which a share of the rows, 0 to 1, is allowed."""

    def search(
        self,
        queries: np.ndarray,
        count: int,
        options: Any,
        allowed: np.ndarray | None = None,
        share: float = 1.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search.

        Args:
            queries: (Q, E) float32.
            count: Rows wanted of each.
            options: Of the kind.
            allowed: (V,) booleans; None: all.
            share: What the effort is divided by, the part of the rows that is allowed.

        Returns:
            Approximate similarities and rows, -1 where there are fewer.
        """
        selector = None
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            selector = self.faiss.IDSelectorBitmap(bits)
        parameters = self.parameters(options, share, selector)
        return self.index.search(np.ascontiguousarray(queries), count, params=parameters)

    def write(self, file: Any) -> None:
        """Write to an open file."""
        self.faiss.write_index(self.index, self.faiss.PyCallbackIOWriter(file.write))

    @classmethod
    def read(cls, file: Any) -> AnnIndex:
        """Read from an open file whose digest was found right."""
        faiss = import_faiss(cls.kind)
        return cls(faiss.read_index(faiss.PyCallbackIOReader(file.read)))


class HnswIndex(AnnIndex):
    """A graph whose rows are linked to near ones; it holds the rows as they are."""

    kind = "hnsw"

    @classmethod
    def build(cls, vectors: Vectors, options: HnswOptions) -> HnswIndex:
        """Build it of rows."""
        faiss = import_faiss(cls.kind)
        index = faiss.IndexHNSWFlat(vectors.size, options.m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = options.ef_construction
        built = cls(index)
        for _, block in vectors.blocks():
            built.add(block, options)
        return built

    def add(self, rows: np.ndarray, options: HnswOptions) -> None:
        """See :meth:`AnnIndex.add`."""
        with _threads(self.faiss, options.threads):
            self.index.add(np.ascontiguousarray(rows))

    def parameters(self, options: HnswOptions, share: float, selector: Any) -> Any:
        """Rows that may not be found are walked over all the same, so more are looked at."""
        looked_at = math.ceil(options.ef_search / share)
        return self.faiss.SearchParametersHNSW(efSearch=looked_at, sel=selector)

    def stored(self) -> np.ndarray:
        """The rows (V, E) in FAISS's memory, until the next :meth:`add`."""
        flat = self.faiss.downcast_index(self.index.storage)
        rows = self.faiss.rev_swig_ptr(flat.get_xb(), self.index.ntotal * self.index.d)
        return rows.reshape(self.index.ntotal, self.index.d)


class IvfPqIndex(AnnIndex):
    """Lists of rows about a centre each, of which a few bytes are kept."""

    kind = "ivf_pq"

    @classmethod
    def build(cls, vectors: Vectors, options: IvfPqOptions) -> IvfPqIndex:
        """Train it on a sample of rows, and add them all.

        Raises:
            ValueError: If there are too few rows, or options don't fit them.
        """
        faiss = import_faiss(cls.kind)
        nlist, pq_bytes = _lists(len(vectors), options), _bytes(vectors.size, options)
        ip = faiss.METRIC_INNER_PRODUCT
        centres = faiss.IndexFlatIP(vectors.size)
        lists = faiss.IndexIVFPQ(centres, vectors.size, nlist, pq_bytes, 8, ip)
        lists.cp.seed = lists.pq.cp.seed = options.seed + 1
        lists.pq.cp.niter, lists.pq.cp.max_points_per_centroid = _PQ_ROUNDS, _ROWS_PER_LIST
        index = lists
        if options.opq:
            turn = faiss.OPQMatrix(vectors.size, pq_bytes)
            turn.niter, turn.niter_pq_0 = _OPQ_ROUNDS, _PQ_ROUNDS
            turn.max_train_points = _ROWS_PER_LIST * LEAST_ROWS
            index = faiss.IndexPreTransform(turn, lists)
        count = min(len(vectors), max(_ROWS_PER_LIST * nlist, 256 * LEAST_ROWS))
        drawn = np.random.default_rng(options.seed).choice(len(vectors), count, replace=False)
        with _threads(faiss, 1):
            index.train(vectors.take(np.sort(drawn)))
        built = cls(index)
        for _, block in vectors.blocks():
            built.add(block, options)
        return built

    def add(self, rows: np.ndarray, options: IvfPqOptions) -> None:
        """See :meth:`AnnIndex.add`."""
        with _threads(self.faiss, 1):
            self.index.add(np.ascontiguousarray(rows))

    def parameters(self, options: IvfPqOptions, share: float, selector: Any) -> Any:
        """More lists, where fewer of their rows may be found."""
        own = self.faiss.try_extract_index_ivf(self.index)
        wanted = max(32, own.nlist // 16) if options.nprobe is None else options.nprobe
        nprobe = min(own.nlist, math.ceil(wanted / share))
        inner = self.faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        if own.this == self.index.this:
            return inner
        return self.faiss.SearchParametersPreTransform(index_params=inner)


def _lists(count: int, options: IvfPqOptions) -> int:
    if count < LEAST_ROWS:
        raise ValueError(
            f"kind='ivf_pq' is trained on at least {LEAST_ROWS} rows, and there are {count}: take "
            "kind='exact'."
        )
    if options.nlist is None:
        return min(2 ** round(math.log2(4 * math.sqrt(count))), max(1, count // 39))
    if not 1 <= options.nlist <= count:
        raise ValueError(f"nlist={options.nlist} must be from 1 to the number of rows, {count}.")
    return options.nlist


def _bytes(size: int, options: IvfPqOptions) -> int:
    if options.pq_bytes is None:
        most = max(1, min(64, size // 8))
        return max(number for number in range(1, most + 1) if size % number == 0)
    if not (1 <= options.pq_bytes <= size and size % options.pq_bytes == 0):
        raise ValueError(f"pq_bytes={options.pq_bytes} must divide a row's {size} numbers.")
    return options.pq_bytes
