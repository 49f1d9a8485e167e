"""Metrics over one prediction a sample, gathered from ranks that hold different numbers of them."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from uniadapter.utils.json_files import json_text
from uniadapter.utils.safe_io import atomic_write

_ABSENT = object()
_SHOWN = 5


def sample_field(sample: Any, name: str, default: Any = None) -> Any:
    """Read a field of a data sample, whatever kind of object it is.

    Args:
        sample: A mapping, a ``MultimodalSample`` or any object with attributes.
        name: Name of the field.
        default: Stands for a field that is absent.

    Returns:
        The value of the field.
    """
    if isinstance(sample, Mapping):
        return sample.get(name, default)
    return getattr(sample, name, default)


def sample_id(sample: Any, name: str, metric: str) -> int | str:
    """Identifier of a data sample.

    Args:
        sample: As in :func:`sample_field`.
        name: Field of the identifier.
        metric: Who asks, for the error.

    Returns:
        A Python integer or a string.

    Raises:
        ValueError: If it is absent or anything else.
    """
    value = sample_field(sample, name)
    if isinstance(value, str):
        return value
    try:
        # Integers of numpy and torch too, but no booleans, which are integers to Python.
        return operator.index(None if isinstance(value, bool) else value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(
            f"{metric} needs an integer or a string as {name!r} of every data sample, got "
            f"{value!r}; the dataset has to set it"
        ) from None


def sample_prediction(sample: Any, name: str, metric: str) -> str:
    """Text that the model predicted for a data sample.

    Args:
        sample: As in :func:`sample_field`.
        name: Field of the prediction.
        metric: Who asks, for the error.

    Returns:
        The text; empty for a sample that was skipped because its medium could not be read.

    Raises:
        ValueError: If it is absent or no string.
    """
    value = sample_field(sample, name)
    if value is None and sample_field(sample, "skipped", False):
        return ""
    if not isinstance(value, str):
        raise ValueError(
            f"{metric} needs a string as {name!r} of every data sample, got {value!r}; the model's "
            "mode='predict' has to set it"
        )
    return value


def merge_ranks(parts: Sequence[Sequence[dict[str, Any]]], metric: str) -> list[dict[str, Any]]:
    """Put the ranks' records together, each identifier once.

    A distributed sampler that fills up its last round hands some samples to two ranks. Of those
    the record that comes first in the order of a single process is kept; how many there were is
    logged, and so is a prediction that differs.

    Args:
        parts: The records of every rank, dicts with ``id`` and ``prediction``; what else they hold
            is the ground truth. Ranks may hold different numbers of records.
        metric: Who asks, for messages.

    Returns:
        The records in the order in which one process would have seen them.

    Raises:
        ValueError: If one rank has an identifier twice, or two ranks have it with different ground
            truths.
    """
    for part in parts:
        _refuse_repeats(part, metric)
    merged: dict[int | str, dict[str, Any]] = {}
    again = differing = 0
    for dealt in zip_longest(*parts, fillvalue=_ABSENT):
        for record in dealt:
            if record is _ABSENT:
                continue
            first = merged.setdefault(record["id"], record)
            if first is record:
                continue
            if _truth(first) != _truth(record):
                raise ValueError(
                    f"{metric}: id {record['id']!r} stands for different ground truths, "
                    f"{_truth(first)} and {_truth(record)}. Ids must be unique; see verify_dataset."
                )
            again += 1
            differing += first["prediction"] != record["prediction"]
    if again:
        print_log(
            f"{metric}: {again} samples were evaluated on more than one rank and count once; for "
            f"{differing} of them the predictions differ and the first is kept",
            logger="current",
            level=30 if differing else 20,
        )
    return list(merged.values())


def _truth(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("id", "prediction")}


def _refuse_repeats(part: Sequence[Mapping[str, Any]], metric: str) -> None:
    seen: dict[int | str, str] = {}
    for record in part:
        if record["id"] in seen:
            raise ValueError(
                f"{metric} was given id {record['id']!r} twice, with the predictions "
                f"{seen[record['id']]!r} and {record['prediction']!r}; ids must be unique. "
                "Look for repeated ids in the annotation file."
            )
        seen[record["id"]] = record["prediction"]


def shown(ids: Sequence[int | str]) -> str:
    """A few identifiers for a message.

    Args:
        ids: The identifiers.

    Returns:
        The first ones, and how many there are when some are left out.
    """
    head = ", ".join(repr(value) for value in ids[:_SHOWN])
    return head if len(ids) <= _SHOWN else f"{head}, ... ({len(ids)} in all)"


def write_json(path: str | Path, rows: Sequence[Mapping[str, Any]], metric: str) -> None:
    """Write rows as a JSON list, the file whole or not at all, and log where.

    Args:
        path: The file; its folder is created.
        rows: What to write.
        metric: Who writes, for the log.
    """
    atomic_write(path, json_text(list(rows)).encode())
    print_log(f"{metric}: wrote {len(rows)} results to {path}", logger="current")


class GatheredMetric(BaseMetric):
    """Base of metrics that gather one record a sample and compute on the main process.

    mmengine's own collection interleaves the ranks' lists, cuts them to the shortest and then to
    the length of the dataset: with ranks of unequal length results are lost. Here every record
    arrives, repeated ones count once, and fewer than the dataset has samples is an error. The ranks
    all return the main process's metrics, or raise its error.

    A subclass fills ``self.results`` with dicts of ``id``, ``prediction`` and its ground truth.

    Args:
        prefix: Put before every name in the results, for several evaluators in one run.
        collect_device: Accepted for mmengine's sake; records are gathered as Python objects.
    """

    def __init__(self, prefix: str | None = None, collect_device: str = "cpu") -> None:
        # mmengine warns about an absent prefix; without one the names stand alone here.
        super().__init__(collect_device=collect_device, prefix=prefix or type(self).__name__)
        self.prefix = prefix

    def evaluate(self, size: int) -> dict[str, float]:
        """Measure what all ranks processed and forget it.

        Args:
            size: Length of the dataset.

        Returns:
            The metrics, alike on every rank.

        Raises:
            ValueError: If samples are missing or repeated, or the metric itself cannot be computed.
        """
        name = type(self).__name__
        parts = all_gather_object(list(self.results))
        self.results.clear()
        outcome: list[Any] = [None]
        if is_main_process():
            # Whatever goes wrong is handed to the other ranks too: they would wait for ever.
            try:
                records = merge_ranks(parts, name)
                self._check_size(len(records), size)
                prefix = f"{self.prefix}/" if self.prefix else ""
                metrics = self.compute_metrics(records)
                outcome = [{f"{prefix}{key}": value for key, value in metrics.items()}]
            except Exception as error:  # re-raised on every rank below
                outcome = [error]
        broadcast_object_list(outcome)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def _check_size(self, found: int, size: int) -> None:
        name = type(self).__name__
        if found == 0:
            raise ValueError(f"{name} was given no data samples; is the split empty?")
        if found < size:
            raise ValueError(
                f"{name} has results of {found} samples but the dataset has {size}: predictions "
                "are missing, or ids repeat over the ranks. Every sample counts, so nothing is "
                "computed from a part."
            )
