"""VQAv2 and GQA in the files of LXMERT, whose answers are classes, as CLIP-ViL reads them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from mmengine.logging import print_log

from ..registry import DATASETS
from ..utils.answer_classes import read_answer_classes, read_answer_table
from .base import BaseMediaDataset
from .media import IMAGE_EXTENSIONS
from .readers import read_list, require_file, require_id, require_text
from .scores import read_scores
from .transforms.fit import is_lying
from .transforms.pictures import picture_size

_COCO = re.compile(r"COCO_([A-Za-z]+\d{4})_\d+")
_UNKNOWN = ("raise", "drop")
_THREADS = 16


class _Entry(NamedTuple):
    """A question of a file: its picture, itself, its scores by answer, and its types."""

    image: str
    question: str
    question_id: int | str
    where: str
    label: dict[str, float] | None
    types: dict[str, str]


@DATASETS.register_module()
class LxmertVQA(BaseMediaDataset):
    """VQAv2 and GQA in LXMERT's files, a question an item.

    A file is a JSON list of ``{"img_id", "question_id", "sent", "label": {answer: score}}``, for
    VQAv2 with ``answer_type`` and ``question_type``; files of questions to be submitted have no
    ``label``. A picture called ``COCO_val2014_000000393267`` is in the folder ``val2014`` of
    ``data_prefix['media']``, any other one in that folder itself.

    A training item has ``text`` (the question), ``answers`` and ``answer_weights``, the score of
    each; a test item has ``gt_scores`` (``{answer: score}``) where the file has labels. Both have
    ``question_id`` and ``question``.

    :meth:`lying` says which items lie and which stand, for :class:`OrientedBatchSampler`; a medium
    that can't be read is replaced by one that lies as it does.

    Args:
        ann_file: Question file or files, absolute or relative to ``data_root``.
        label2ans: The answers in the order of their classes, a JSON list.
        ans2label: The class of each answer, a JSON object; held against ``label2ans``.
        unknown: A question with an answer outside the table is an error that names it
            (``'raise'``), or left out, of testing too (``'drop'``, as CLIP-ViL does for GQA).
        **kwargs: See :class:`BaseMediaDataset`.

    Raises:
        ValueError: For an option outside its set, tables that disagree, a question that is
            incomplete, or an identifier that repeats; the message names file, position and key.
        FileNotFoundError: When a file or folder does not exist.
    """

    METAINFO: dict[str, Any] = {"dataset": "LxmertVQA", "task": "vqa"}

    def __init__(
        self,
        ann_file: str | Sequence[str],
        label2ans: str,
        ans2label: str,
        unknown: str = "raise",
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        if unknown not in _UNKNOWN:
            raise ValueError(f"LxmertVQA: unknown must be one of {_UNKNOWN}, got {unknown!r}.")
        files = [ann_file] if isinstance(ann_file, str) else list(ann_file)
        if not files or not all(files):
            raise ValueError("LxmertVQA: ann_file is empty: name at least one file.")
        self.files, self.unknown = files, unknown
        self.label2ans, self.ans2label = label2ans, ans2label
        self._lying: list[bool] | None = None
        self._wanted: bool | None = None
        super().__init__(ann_file="", extensions=extensions, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.files = [self._joined(path) for path in self.files]
        self.label2ans, self.ans2label = map(self._joined, (self.label2ans, self.ans2label))

    @property
    def split_name(self) -> str:
        """The question files."""
        return " + ".join(self.files)

    def load_data_list(self) -> list[dict]:
        """Return the items, one a question."""
        answers = read_answer_classes(require_file(self.label2ans, "label2ans"))
        read_answer_table(require_file(self.ans2label, "ans2label"), answers, self.label2ans)
        known = set(answers)
        found = [entry for path in self.files for entry in self._entries(path)]
        self._require_items(found, "question")
        _refuse_repeats(found)
        _refuse_some_labels(found, self.split_name)
        kept = [entry for entry in found if self._is_known(entry, known)]
        if len(kept) < len(found):
            print_log(
                f"{self.split_name}: {len(found) - len(kept)} of {len(found)} questions are left "
                f"out (unknown='drop'): {self.label2ans} has not all of their answers.",
                "current",
                logging.WARNING,
            )
        self._require_items(kept, "question whose answers are all in the table")
        media = self._find_media(_file_of(entry.image) for entry in kept)
        return [{**media[_file_of(entry.image)], **self._facts(entry)} for entry in kept]

    def _facts(self, entry: _Entry) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "text": entry.question,
            "question": entry.question,
            "question_id": entry.question_id,
            **entry.types,
        }
        if not self.test_mode:
            label = entry.label or {}
            return {**facts, "answers": list(label), "answer_weights": list(label.values())}
        return facts if entry.label is None else {**facts, "gt_scores": entry.label}

    def _entries(self, path: str) -> Iterator[_Entry]:
        content = read_list(require_file(path, "ann_file"), "LXMERT's question files")
        for index, item in enumerate(content):
            where = f"{path}: entry {index}"
            question, image = require_text(item, "sent", where), require_id(item, "img_id", where)
            if "label" not in item and not self.test_mode:
                raise ValueError(
                    f"{where}: key 'label' is missing: training needs the scores of answers; a "
                    "file to submit needs test_mode=True."
                )
            kinds = ("question_type", "answer_type")
            types = {key: require_text(item, key, where) for key in kinds if key in item}
            number = require_id(item, "question_id", where)
            yield _Entry(str(image), question, number, where, read_scores(item, where), types)

    def _is_known(self, entry: _Entry, known: set[str]) -> bool:
        outside = [answer for answer in entry.label or () if answer not in known]
        if outside and self.unknown == "raise":
            raise ValueError(
                f"{entry.where}: the answer {outside[0]!r} of question {entry.question_id!r} is "
                f"not in {self.label2ans}; name the table of this file, or set unknown='drop'."
            )
        return not outside

    def lying(self) -> list[bool]:
        """Whether each item's picture is no higher than wide; read from the pictures' heads once.

        A picture that can't be read counts as lying; it is replaced, skipped or refused when its
        turn comes.
        """
        if not self._fully_initialized:
            self.full_init()
        if self._lying is None:
            paths = [self.get_data_info(index)["media_path"] for index in range(len(self))]
            different = list(dict.fromkeys(paths))
            print_log(f"{self.split_name}: reading the sizes of {len(different)} pictures.")
            with ThreadPoolExecutor(_THREADS) as pool:
                sizes = dict(zip(different, pool.map(picture_size, different), strict=True))
            self._lying = [size is None or is_lying(*size) for size in map(sizes.get, paths)]
        return self._lying

    def _train_item(self, idx: int) -> dict:
        self._wanted = None if self._lying is None else self._lying[idx]
        return super()._train_item(idx)

    def _rand_another(self) -> int:
        """Another item, of the shape of its batch where batches are of one shape."""
        while True:
            index: int = super()._rand_another()
            if self._lying is None or self._lying[index] == self._wanted:
                return index


def _file_of(image: str) -> str:
    """Where a picture is below the folder of pictures."""
    match = _COCO.fullmatch(image)
    return image if match is None else f"{match.group(1)}/{image}"


def _refuse_repeats(entries: Sequence[_Entry]) -> None:
    seen: dict[int | str, str] = {}
    for entry in entries:
        first = seen.setdefault(entry.question_id, entry.where)
        if first is not entry.where:
            raise ValueError(
                f"{entry.where}: question_id {entry.question_id!r} stands at {first} too; every "
                "question needs an identifier of its own."
            )


def _refuse_some_labels(entries: Sequence[_Entry], name: str) -> None:
    without = [entry for entry in entries if entry.label is None]
    if without and len(without) < len(entries):
        raise ValueError(
            f"{name}: {len(without)} of {len(entries)} questions have no 'label', the first at "
            f"{without[0].where}; give one to all, or to none of a split to submit."
        )
