"""The measures of GLUE, each in [-1, 1] or [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def accuracy(predictions: Sequence[float], truths: Sequence[float]) -> float:
    """Share of predictions that are right."""
    return float(np.mean(np.equal(predictions, truths)))


def f1(predictions: Sequence[float], truths: Sequence[float]) -> float:
    """F1 of the class 1; 0 where it is neither predicted nor true."""
    found, real = np.equal(predictions, 1), np.equal(truths, 1)
    total = found.sum() + real.sum()
    return float(2 * (found & real).sum() / total) if total else 0.0


def matthews(predictions: Sequence[float], truths: Sequence[float]) -> float:
    """Matthews' correlation of classes 0 and 1; 0 where either side has one class only."""
    return _correlation(np.equal(predictions, 1), np.equal(truths, 1))


def pearson(predictions: Sequence[float], truths: Sequence[float]) -> float:
    """Pearson's correlation; 0 where either side is constant."""
    return _correlation(np.asarray(predictions), np.asarray(truths))


def spearman(predictions: Sequence[float], truths: Sequence[float]) -> float:
    """Spearman's correlation: Pearson's of the ranks, equal values having their mean rank."""
    return _correlation(_ranks(predictions), _ranks(truths))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if (x == x[0]).all() or (y == y[0]).all():
        return 0.0
    x, y = (_direction(values.astype(np.float64)) for values in (x, y))
    return float(x @ y)


def _direction(values: np.ndarray) -> np.ndarray:
    """Deviations from the mean, of length 1; a text may say a number whose square is none."""
    # By a power of two, which rounds nothing.
    scaled = np.ldexp(values, -np.frexp(np.abs(values).max())[1])
    deviations = scaled - scaled.mean()
    return deviations / np.linalg.norm(deviations)


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return ((last - counts + 1 + last) / 2)[place]


GLUE_MEASURES: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
