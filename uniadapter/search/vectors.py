"""Rows of normalised features, and exact search over them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

#: How far the norm of a normalised row may be from 1: features may have been rounded to float16.
NORM_TOLERANCE = 2e-3
#: Similarities that are held at once, 128 MiB of them.
_AT_ONCE = 2**25
#: Rows that are read at once from arrays that may be on disk.
_BLOCK = 2**16


def checked_rows(features: np.ndarray, size: int | None, what: str) -> np.ndarray:
    """See that rows are what a cosine is computed of by an inner product.

    Args:
        features: (V, E) floats.
        size: E; None: any.
        what: Names the rows in errors.

    Returns:
        (V, E) float32; the array itself, a memory map for one, where it has this type.

    Raises:
        ValueError: If the shape is another, or a row is not finite or not of norm 1.
    """
    if features.ndim != 2 or features.shape[1] < 1 or features.dtype.kind != "f":
        raise ValueError(
            f"{what} have shape {features.shape} and type {features.dtype}, expected (rows, "
            f"{size or 'size'}) of floats."
        )
    if size is not None and features.shape[1] != size:
        raise ValueError(
            f"{what} are {features.shape[1]} numbers wide, and those of the index {size}: they "
            "come from another model."
        )
    features = features if features.dtype == np.float32 else features.astype(np.float32)
    for start in range(0, len(features), _BLOCK):
        squares = np.square(features[start : start + _BLOCK]).sum(axis=1, dtype=np.float64)
        for wrong, why in (
            (~np.isfinite(squares), "holds a number that is not finite"),
            (np.abs(np.sqrt(squares) - 1) > NORM_TOLERANCE, "is not of norm 1: normalise it"),
        ):
            if wrong.any():
                raise ValueError(f"{what}: row {start + int(np.argmax(wrong))} {why}.")
    return features


class Vectors:
    """Rows of one or more arrays behind one another; none is copied.

    Args:
        size: Numbers of a row.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._parts: list[np.ndarray] = []
        self._ends = [0]

    def __len__(self) -> int:
        return self._ends[-1]

    def append(self, rows: np.ndarray) -> None:
        """Add rows (V, E) float32 at the end."""
        if len(rows):
            self._parts.append(rows)
            self._ends.append(len(self) + len(rows))

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield all rows in blocks, each with the number of its first row."""
        for first, part in zip(self._ends, self._parts, strict=False):
            for start in range(0, len(part), _BLOCK):
                yield first + start, part[start : start + _BLOCK]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return copies of some rows.

        Args:
            rows: (n,) row numbers, in any order.

        Returns:
            (n, E) float32.
        """
        found = np.empty((len(rows), self.size), np.float32)
        for part, (start, end) in zip(self._parts, pairwise(self._ends), strict=True):
            inside = (rows >= start) & (rows < end)
            found[inside] = part[rows[inside] - start]
        return found


def exact_search(
    vectors: Vectors, queries: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows of the greatest inner products, by computing all of them.

    What is found depends neither on blocks nor on threads: a matrix product in float32 chooses all
    rows that its rounding leaves in question, and those are ordered by :func:`best_of`.

    Args:
        vectors: V normalised rows.
        queries: (Q, E) float32, normalised.
        k: Rows wanted of each query, at least 1.
        allowed: (V,) booleans, the rows to search; None: all.

    Returns:
        As :meth:`FirstStage.search`.
    """
    similarities = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1, np.int64)
    if allowed is not None and 4 * int(allowed.sum()) < len(vectors):
        rows = np.flatnonzero(allowed)
        few = Vectors(vectors.size)
        few.append(vectors.take(rows))
        similarities, places = exact_search(few, queries, k)
        return similarities, np.where(places < 0, -1, np.append(rows, -1)[places])
    if not len(vectors):
        return similarities, found
    at_once = max(1, _AT_ONCE // len(vectors))
    for start in range(0, len(queries), at_once):
        part = queries[start : start + at_once]
        products = np.empty((len(part), len(vectors)), np.float32)
        for first, block in vectors.blocks():
            products[:, first : first + len(block)] = part @ block.T
        if allowed is not None:
            products[:, ~allowed] = -np.inf
        for row, (query, product) in enumerate(zip(part, products, strict=True), start):
            rows = _in_question(product, k, vectors.size)
            similarities[row], found[row] = best_of(vectors, query, rows, k)
    return similarities, found


def _in_question(products: np.ndarray, k: int, size: int) -> np.ndarray:
    """Rows that may be among the k best, ascending, whatever the products (V,) were rounded to."""
    least = np.float32(-np.inf)
    if k < len(products):
        least = np.partition(products, len(products) - k)[len(products) - k]
    if least == -np.inf:
        return np.flatnonzero(products > -np.inf)
    # A sum of E products of unit vectors is off by at most E / 2**24, in whichever order.
    return np.flatnonzero(products >= least - 2.1 * (size + 1) * 2.0**-24)


def best_of(
    vectors: Vectors, query: np.ndarray, rows: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Order some rows by their inner products in float64, rounded to float32.

    Args:
        vectors: All rows.
        query: (E,) float32.
        rows: (n,) ascending row numbers. Of equal ones the first comes first.
        k: How many are wanted.

    Returns:
        (k,) float32 and (k,) int64: products, descending, and rows; where there are fewer, minus
        infinity and -1.
    """
    # Row by row, so that equal rows have equal products: those of a BLAS depend on the place.
    exact = np.concatenate(
        [
            (vectors.take(rows[s : s + _BLOCK]).astype(np.float64) * query).sum(axis=1)
            for s in range(0, max(len(rows), 1), _BLOCK)
        ]
    ).astype(np.float32)
    order = np.argsort(-exact, kind="stable")[:k]
    similarities = np.full(k, -np.inf, np.float32)
    best = np.full(k, -1, np.int64)
    similarities[: len(order)], best[: len(order)] = exact[order], rows[order]
    return similarities, best
