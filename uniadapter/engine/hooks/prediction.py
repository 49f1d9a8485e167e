"""What a test predicts, item by item and in plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from uniadapter.registry import HOOKS
from uniadapter.utils.json_files import json_text
from uniadapter.utils.safe_io import atomic_write

_NOT_PLAIN = object()


@HOOKS.register_module()
class PredictionHook(Hook):
    """Keeps a row for every tested item: what its data sample says, and what was predicted of it.

    A row has the plain facts of the sample (``question_id``, ``media_path``, ``gt_answers``, ...,
    see :class:`~uniadapter.structures.MultimodalSample`) and its predictions: ``pred_answer`` of
    questions, ``pred_caption``, ``pred_text`` of what else is written, ``pred_boxes`` with
    ``pred_scores``, ``pred_label`` and ``pred_score`` of classes. The rows are in the order of the
    data set, each item once, however many processes tested it. A retrieval loop ranks instead of
    predicting: ``test_cfg.dump`` writes its rankings.

    Args:
        out_file: JSON file for the list of rows. None keeps them in ``rows`` alone.

    Attributes:
        rows: Of the last test, on the main process.

    Raises:
        ValueError: If ``out_file`` is no .json file.
    """

    priority = "LOW"

    def __init__(self, out_file: str | Path | None = None) -> None:
        if out_file is not None and Path(out_file).suffix != ".json":
            raise ValueError(f"PredictionHook.out_file={str(out_file)!r}: name a .json file.")
        self.out_file = out_file
        self.rows: list[dict[str, Any]] = []

    def before_test_epoch(self, runner: Runner) -> None:
        """Forget the rows of an earlier test.

        Args:
            runner: Not used.
        """
        self.rows = []

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keep a batch.

        Args:
            runner: Not used.
            batch_idx: Not used.
            data_batch: Not used.
            outputs: The data samples.
        """
        self.rows += [plain_row(sample) for sample in outputs or ()]

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Gather the rows of all processes and write them.

        Args:
            runner: The runner.
            metrics: Not used.

        Raises:
            ValueError: If there are other rows than the data set has items.
        """
        parts = all_gather_object(self.rows)
        if not is_main_process():
            return
        self.rows = in_order(parts, len(runner.test_dataloader.dataset))
        if self.out_file is not None:
            write_rows(self.out_file, self.rows)


def write_rows(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a JSON list, a row a line; the file is whole or absent."""
    lines = ",\n".join(json_text(row, allow_nan=False) for row in rows)
    atomic_write(path, f"[\n{lines}\n]\n".encode())


def in_order(parts: Sequence[Sequence[dict[str, Any]]], size: int) -> list[dict[str, Any]]:
    """The rows of all processes in the order of the data set.

    Args:
        parts: Of each process, which were dealt items in turns.
        size: Items of the data set. A sampler that gives all processes as many repeats the first
            items at the end.

    Raises:
        ValueError: If items are missing, or what exceeds them is no repeat.
    """
    dealt = [row for turn in zip_longest(*parts) for row in turn if row is not None]
    rows, rest = dealt[:size], dealt[size:]
    if len(rows) < size or any(row not in rows for row in rest):
        raise ValueError(
            f"The test gave predictions of {len(dealt)} items, and the data set has {size}: "
            "test_dataloader.sampler must deal every item, as DefaultSampler does."
        )
    return rows


def plain_row(sample: Any) -> dict[str, Any]:
    """What a data sample holds, as far as it is plain.

    Args:
        sample: A data element of MMEngine's, or a dictionary.

    Returns:
        Strings, numbers, lists and dictionaries of them; tensors and arrays become lists, what is
        not finite None. A label of one class is a number.
    """
    pairs: Iterable = sample.items() if isinstance(sample, Mapping) else sample.all_items()
    row = {}
    for key, value in pairs:
        found = _plain(value)
        if found is _NOT_PLAIN:
            continue
        one = key.endswith("_label") and isinstance(found, list) and len(found) == 1
        row[key] = found[0] if one else found
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        # bfloat16 has no counterpart in NumPy, tolist() of torch knows it.
        return _plain(value.tolist())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        found = {str(key): _plain(part) for key, part in value.items()}
        return _NOT_PLAIN if any(part is _NOT_PLAIN for part in found.values()) else found
    if isinstance(value, list | tuple | set | frozenset):
        parts = [_plain(part) for part in value]
        return _NOT_PLAIN if any(part is _NOT_PLAIN for part in parts) else parts
    return _NOT_PLAIN
