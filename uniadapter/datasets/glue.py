"""GLUE's eight tasks as text to text, from the published TSV files."""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ..registry import DATASETS
from ..structures.glue import GlueTask, glue_task
from ..utils.json_files import brief
from .readers import MAX_DIGITS, require_file

_LAYOUT = "docs/dataset_preparation.md shows the expected files."


@dataclass(frozen=True)
class _Files:
    """How the files of a task are made: columns from 0, and what their header says there.

    Attributes:
        folder: Folder of the files.
        fields: What stands in front of each text of a source.
        texts: Columns of the texts, labelled files.
        label: Column of the label; -1 is the last.
        unlabelled: Columns of the texts in test files.
        names: Names in the header of the texts and of the label; the labelled files of CoLA have no
            header.
        header: Whether labelled files have one.
        broken: Whether the published files have lines with too few fields.
    """

    folder: str
    fields: tuple[str, ...]
    texts: tuple[int, ...]
    label: int
    unlabelled: tuple[int, ...]
    names: tuple[str, ...]
    header: bool = True
    broken: bool = False


_PAIR = ("sentence1", "sentence2")
_FILES: dict[str, _Files] = {
    "cola": _Files("CoLA", ("sentence",), (3,), 1, (1,), ("sentence", "label"), header=False),
    "sst2": _Files("SST-2", ("sentence",), (0,), 1, (1,), ("sentence", "label")),
    "mrpc": _Files("MRPC", _PAIR, (3, 4), 0, (3, 4), ("#1 String", "#2 String", "Quality")),
    "qqp": _Files(
        "QQP",
        ("question1", "question2"),
        (3, 4),
        5,
        (1, 2),
        ("question1", "question2", "is_duplicate"),
        broken=True,
    ),
    "mnli": _Files("MNLI", ("premise", "hypothesis"), (8, 9), -1, (8, 9), (*_PAIR, "gold_label")),
    "qnli": _Files(
        "QNLI", ("question", "sentence"), (1, 2), -1, (1, 2), ("question", "sentence", "label")
    ),
    "rte": _Files("RTE", _PAIR, (1, 2), -1, (1, 2), (*_PAIR, "label")),
    "stsb": _Files("STS-B", _PAIR, (7, 8), -1, (7, 8), (*_PAIR, "score")),
}
# Of small tasks the development set is halved, large ones hold some of the training set out, and
# MNLI has two development sets.
_HALVED = ("cola", "mrpc", "rte", "stsb")
_HELD_OUT = ("sst2", "qqp", "qnli")
SPLITS = ("train", "val", "test", "dev", "dev_mismatched", "unlabelled", "unlabelled_mismatched")
_STEP = 5


def as_source(task: str, texts: Sequence[str]) -> str:
    """The text that a model reads: the task's name, and each text behind its field's name.

    Args:
        task: Such as ``'rte'``.
        texts: The sample's texts, in the order of the task's fields.
    """
    parts = zip(_FILES[task].fields, texts, strict=True)
    return " ".join((task, *(f"{name}: {text}" for name, text in parts)))


def as_target(task: GlueTask, label: str) -> str:
    """The text that a model writes: the number of a label, or a score in steps of 0.2."""
    if not task.scored:
        return str(task.labels.index(label))
    return f"{round(float(label) * _STEP) / _STEP:.1f}"


@DATASETS.register_module()
class GLUE(BaseDataset):
    """One of GLUE's tasks as text to text.

    A sample has ``text``, the source (``'rte sentence1: ... sentence2: ...'``), ``index`` and,
    where the file has labels, ``label`` as the file says it and ``target``, the text to be written
    (``'0'``, ``'1'``; a score of STS-B rounded to 0.2).

    GLUE publishes no labels of its test sets. As the follow-up code of UniPT's authors does it:

    - ``'test'`` is the development set; of CoLA, MRPC, RTE and STS-B one half of it, of MNLI the
      matched one;
    - ``'val'`` is its other half; of SST-2, QQP and QNLI ``held_out`` training samples; of MNLI the
      mismatched development set;
    - ``'train'`` is the training set without those.

    ``'dev'`` and ``'dev_mismatched'`` are whole development files, ``'unlabelled'`` and
    ``'unlabelled_mismatched'`` the test files, to be predicted for GLUE's server; their ``index``
    is the file's.

    Halves and held-out samples are drawn by ``numpy.random.RandomState(seed)``, whose numbers do
    not change between versions: of its ``permutation(n)`` the first n // 2, or ``held_out``, are
    ``'val'``. Samples keep the order of the file.

    Args:
        task: ``'cola'``, ``'sst2'``, ``'mrpc'``, ``'qqp'``, ``'mnli'``, ``'qnli'``, ``'rte'`` or
            ``'stsb'``.
        split: See above.
        data_root: Folder with the folders of the tasks (``CoLA``, ``SST-2`` ...).
        seed: Of the division.
        held_out: Training samples of SST-2, QQP or QNLI to validate on. Defaults to None: 1,000.
        pipeline: Transforms, as configs or callables.
        test_mode: Whether samples are predicted; labels may then be missing.
        indices: Keep the first (int) or these (sequence) samples only.
        metainfo: Free facts on the dataset.
        lazy_init: Leave reading the file to ``full_init()``.

    Raises:
        ValueError: For an option outside its set, a file that is another one than said, or a split
            without samples; the message names file, line and column.
        FileNotFoundError: When the file does not exist.
    """

    METAINFO: dict[str, Any] = {"task": "glue"}

    def __init__(
        self,
        task: str,
        split: str = "train",
        data_root: str = "data/glue/",
        seed: int = 0,
        held_out: int | None = None,
        pipeline: Sequence[Any] = (),
        test_mode: bool = False,
        indices: int | Sequence[int] | None = None,
        metainfo: Mapping[str, Any] | None = None,
        lazy_init: bool = False,
    ) -> None:
        self.task = glue_task(task, type(self).__name__)
        self.files = _FILES[task]
        if split not in SPLITS:
            raise ValueError(f"GLUE: split={split!r} is unknown: choose from {list(SPLITS)}.")
        if split.endswith("_mismatched") and task != "mnli":
            raise ValueError(f"GLUE: split={split!r} is one of MNLI alone, not of {task!r}.")
        if split.startswith("unlabelled") and not test_mode:
            raise ValueError(f"GLUE: split={split!r} has no labels to train on: set test_mode.")
        if held_out is not None and task not in _HELD_OUT:
            raise ValueError(
                f"GLUE: held_out={held_out} is of {list(_HELD_OUT)}, and {task!r} validates on a "
                "development set: leave it out."
            )
        held_out = 1000 if held_out is None else held_out
        if held_out < 1:
            raise ValueError(f"GLUE: held_out={held_out} must be at least 1.")
        if indices is not None and (indices == 0 or (not isinstance(indices, int) and not indices)):
            raise ValueError(f"GLUE: indices = {indices!r} leaves no item; use None for all.")
        self.split, self.seed, self.held_out = split, seed, held_out
        self.folder = os.path.join(data_root, self.files.folder)
        super().__init__(
            ann_file="",
            metainfo=metainfo,
            data_root=data_root,
            data_prefix={},
            indices=indices,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    @property
    def file(self) -> str:
        """The file that the split is read from."""
        name, task = self.split, self.task.name
        if name == "val":
            name = {True: "train", False: "dev"}[task in _HELD_OUT]
            name = "dev_mismatched" if task == "mnli" else name
        elif name == "test":
            name = "dev"
        name = name.replace("unlabelled", "test")
        if task == "mnli" and name in ("dev", "test"):
            name = f"{name}_matched"
        return os.path.join(self.folder, f"{name}.tsv")

    def load_data_list(self) -> list[dict]:
        """Return the samples of the split, in the order of the file."""
        path = require_file(self.file, f"GLUE {self.task.name} {self.split}")
        labelled = not self.split.startswith("unlabelled")
        read = self._labelled if labelled else self._unlabelled
        rows = enumerate(self._rows(path, labelled))
        samples = [read(f"{path}: line {line}", index, row) for index, (line, row) in rows]
        samples = [samples[number] for number in self._chosen(path, len(samples))]
        if not samples:
            raise ValueError(f"{path}: no sample for split={self.split!r}; is the file complete?")
        return samples

    def _rows(self, path: str, labelled: bool) -> list[tuple[int, list[str]]]:
        """Texts and the label (or the index) of every line, with its number from 1."""
        files, header = self.files, self.files.header or not labelled
        columns = (*files.texts, files.label) if labelled else (*files.unlabelled, 0)
        rows: list[tuple[int, list[str]]] = []
        short: list[int] = []
        width = max(columns) + 1
        for line, row in _lines(path):
            if header:
                self._check_header(path, row, columns if labelled else files.unlabelled)
                # The label is the last field, wherever that is.
                width, header = len(row) if files.label < 0 else width, False
            elif len(row) >= width:
                rows.append((line, [row[column] for column in columns]))
            elif files.broken:
                short.append(line)
            else:
                raise ValueError(
                    f"{path}: line {line} has {len(row)} fields, expected at least {width}: the "
                    "file may be truncated, copy it again."
                )
        if short:
            print_log(
                f"{path}: {len(short)} lines have too few fields and are left out, as everywhere: "
                f"a text contains a line break (the first is line {short[0]}).",
                "current",
                logging.WARNING,
            )
        return rows

    def _check_header(self, path: str, row: list[str], columns: Sequence[int]) -> None:
        for column, name in zip(columns, self.files.names, strict=False):
            found = row[column].strip() if -1 <= column < len(row) else None
            if found != name:
                raise ValueError(
                    f"{path}: line 1: column {column} is {brief(found)}, not {name!r}: is it the "
                    f"file of {self.task.name}? {_LAYOUT}"
                )

    def _labelled(self, where: str, index: int, row: list[str]) -> dict[str, Any]:
        *texts, label = row
        self._check_label(where, label)
        return {
            "index": index,
            "text": as_source(self.task.name, texts),
            "label": label,
            "target": as_target(self.task, label),
        }

    def _unlabelled(self, where: str, _: int, row: list[str]) -> dict[str, Any]:
        *texts, index = row
        if not index.isdecimal() or len(index) > MAX_DIGITS:
            raise ValueError(f"{where}: index {brief(index)} is no whole number.")
        return {"index": int(index), "text": as_source(self.task.name, texts)}

    def _check_label(self, where: str, label: str) -> None:
        if not self.task.scored:
            if label not in self.task.labels:
                known = list(self.task.labels)
                raise ValueError(f"{where}: label {brief(label)} is none of {known}.")
            return
        try:
            score = float(label)
        except ValueError:
            score = math.nan
        if not 0 <= score <= 5:
            raise ValueError(f"{where}: score {brief(label)} is no number from 0 to 5.")

    def _chosen(self, path: str, count: int) -> list[int]:
        """Numbers of the samples of a file that the split has."""
        task, split = self.task.name, self.split
        if task in _HELD_OUT and split in ("train", "val"):
            if count <= self.held_out:
                raise ValueError(
                    f"{path}: {count} samples, of which held_out={self.held_out} are validated "
                    "on: nothing is left to train on."
                )
            first = self.held_out
        elif task in _HALVED and split in ("val", "test"):
            first = count // 2
        else:
            return list(range(count))
        order = np.random.RandomState(self.seed).permutation(count).tolist()
        return sorted(order[:first] if split == "val" else order[first:])


def _lines(path: str) -> list[tuple[int, list[str]]]:
    """Fields of every line that has some, with the number of the line.

    Quotes mean nothing: a text may begin with one that has no end.
    """
    with open(path, encoding="utf-8-sig") as file:
        try:
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            return [(reader.line_num, row) for row in reader if row]
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error}); save it as UTF-8.") from error
        except csv.Error as error:
            raise ValueError(f"{path}: not a TSV file ({error}). {_LAYOUT}") from error
