"""VQAv2 from the official questions and annotations, or from BLIP's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..registry import DATASETS
from .base_question import BaseQuestionDataset, Question
from .media import IMAGE_EXTENSIONS
from .readers import read_json, require_file, require_id, require_text, require_texts

Files = str | Sequence[str]
# The questions of test-dev are about pictures of the test set, which has one folder.
_FOLDERS = {"test-dev2015": "test2015"}


@DATASETS.register_module()
class VQAv2(BaseQuestionDataset):
    """VQAv2 (443,757 / 214,354 / 107,394 / 447,793 questions: train, val, test-dev, test).

    A question file is one of:

    - an official one (``v2_OpenEnded_mscoco_train2014_questions.json``). Its answers are in the
      file of ``ann_file`` at the same place (``v2_mscoco_train2014_annotations.json``); the picture
      is ``train2014/COCO_train2014_000000000009.jpg`` under ``data_prefix['media']``;
    - one of BLIP (``vqa_train.json``): a list with ``image``, ``question``, ``question_id`` and, in
      training, ``answer``, the ten annotators' answers. Entries with ``dataset='vg'`` and those of
      ``vg_file`` are pairs of Visual Genome: their pictures are under ``data_prefix['vg']``, their
      one answer has the weight ``vg_weight``, and they need no ``question_id``.

    Args:
        question_file: Question file or files, absolute or relative to ``data_root``.
        ann_file: Official annotations, one a question file; empty for test-dev, test-std and BLIP's
            files.
        vg_file: BLIP's ``vg_qa.json``, further training pairs.
        vg_weight: Weight of an answer of Visual Genome; 0.2 as in BLIP.
        data_prefix: ``dict(media=..., vg=...)``; ``vg`` for pairs of Visual Genome alone.
        **kwargs: See :class:`BaseQuestionDataset`.

    Raises:
        ValueError: When questions and annotations don't belong together, and as the base class.
        FileNotFoundError: When a file or folder does not exist.
    """

    METAINFO = {"dataset": "VQAv2", "task": "vqa"}
    PREFIXES = ("media", "vg")

    def __init__(
        self,
        question_file: Files,
        ann_file: Files = "",
        vg_file: str = "",
        vg_weight: float = 0.2,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        if vg_weight <= 0:
            raise ValueError(f"VQAv2: vg_weight must be positive, got {vg_weight}.")
        self.question_files, self.ann_files = _listed(question_file), _listed(ann_file)
        if not self.question_files and not vg_file:
            raise ValueError("VQAv2: question_file is empty: name at least one file.")
        if self.ann_files and len(self.ann_files) != len(self.question_files):
            raise ValueError(
                f"VQAv2: {len(self.ann_files)} annotation files beside "
                f"{len(self.question_files)} question files; name one each."
            )
        self.vg_file = vg_file
        self.vg_weight = vg_weight
        super().__init__(ann_file="", extensions=extensions, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.question_files = [self._joined(path) for path in self.question_files]
        self.ann_files = [self._joined(path) for path in self.ann_files]
        self.vg_file = self._joined(self.vg_file)

    @property
    def split_name(self) -> str:
        """The question files."""
        return " + ".join([*self.question_files, *([self.vg_file] if self.vg_file else [])])

    def load_questions(self) -> Iterator[Question]:
        """Yield the questions of all files."""
        annotations = self.ann_files or [""] * len(self.question_files)
        for question_file, ann_file in zip(self.question_files, annotations, strict=True):
            path = require_file(question_file, "question_file")
            content = read_json(path)
            if isinstance(content, list):
                if ann_file:
                    raise ValueError(
                        f"{path}: BLIP's files bring their answers; leave out ann_file = "
                        f"{ann_file!r}."
                    )
                yield from self._blip(content, path)
            else:
                yield from self._official(content, path, ann_file)
        if self.vg_file:
            path = require_file(self.vg_file, "vg_file")
            yield from self._blip(read_json(path), path, visual_genome=True)

    def _official(self, content: Any, path: str, ann_file: str) -> Iterator[Question]:
        entries = _list_under(content, "questions", path)
        folder = require_text(content, "data_subtype", path)
        folder = _FOLDERS.get(folder, folder)
        if not ann_file and not self.test_mode:
            raise ValueError(
                f"{path}: training needs answers; set ann_file to the annotations of this split."
            )
        annotations = read_vqa_annotations(ann_file) if ann_file else None
        for index, entry in enumerate(entries):
            where = f"{path}: questions[{index}]"
            question = require_text(entry, "question", where)
            number, image = require_id(entry, "question_id", where), _image_number(entry, where)
            found: dict[str, Any] = {}
            if annotations is not None:
                if number not in annotations:
                    raise ValueError(
                        f"{where}: question_id {number!r} has no annotation in {ann_file}; the two "
                        "files belong to different splits, or one is incomplete."
                    )
                found = annotations.pop(number)
            yield Question(
                media=f"{folder}/COCO_{folder}_{image:012d}.jpg",
                question=question,
                question_id=number,
                where=where,
                **found,
            )
        if annotations:
            raise ValueError(
                f"{ann_file}: {len(annotations)} annotations are of no question in {path}, such as "
                f"question_id {next(iter(annotations))!r}; the two files belong to different "
                "splits, or one is incomplete."
            )

    def _blip(self, content: Any, path: str, visual_genome: bool = False) -> Iterator[Question]:
        if not isinstance(content, list):
            raise ValueError(
                f"{path}: a list of entries is expected, as in BLIP's vg_qa.json, got "
                f"{type(content).__name__}."
            )
        for index, entry in enumerate(content):
            where = f"{path}: entry {index}"
            question = require_text(entry, "question", where)
            genome = visual_genome or entry.get("dataset") == "vg"
            needs_id = not genome or "question_id" in entry
            yield Question(
                media=require_text(entry, "image", where),
                question=question,
                question_id=require_id(entry, "question_id", where) if needs_id else f"vg_{index}",
                where=where,
                answers=require_texts(entry, "answer", where) if "answer" in entry else None,
                weight=self.vg_weight if genome else 1.0,
                prefix="vg" if genome else "media",
            )


def _listed(files: Files) -> list[str]:
    return [files] if isinstance(files, str) and files else list(files or ())


def _list_under(content: Any, key: str, path: str) -> list[Any]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(
            f"{path}: a list under the key {key!r} is expected, as in the official files of VQAv2; "
            "docs/dataset_preparation.md says where they come from."
        )
    return entries


def _image_number(entry: Any, where: str) -> int:
    number = require_id(entry, "image_id", where)
    if not isinstance(number, int):
        raise ValueError(f"{where}: 'image_id' must be a whole number, got {number!r}.")
    return number


def read_vqa_annotations(ann_file: str, key: str = "ann_file") -> dict[int | str, dict[str, Any]]:
    """Read a file of VQAv2's official annotations.

    Args:
        ann_file: The file.
        key: Configuration key that the path came from, for errors.

    Returns:
        ``answers`` of all annotators, ``question_type`` and ``answer_type``, by identifier of the
        question.

    Raises:
        ValueError: When it is no such file, a question is incomplete, or stands in it twice.
        FileNotFoundError: When there is no such file.
    """
    path = require_file(ann_file, key)
    found: dict[int | str, dict[str, Any]] = {}
    for index, entry in enumerate(_list_under(read_json(path), "annotations", path)):
        where = f"{path}: annotations[{index}]"
        number = require_id(entry, "question_id", where)
        if number in found:
            raise ValueError(f"{where}: question_id {number!r} stands in the file twice.")
        given = entry.get("answers")
        if not isinstance(given, list) or not given:
            raise ValueError(
                f"{where}: key 'answers' of question {number!r} must be a list of at least one "
                "annotator's answer."
            )
        answers = [answer.get("answer") if isinstance(answer, dict) else None for answer in given]
        if not all(isinstance(answer, str) for answer in answers):
            raise ValueError(
                f"{where}: every item of 'answers' of question {number!r} needs a text under the "
                "key 'answer'."
            )
        found[number] = {
            "answers": answers,
            "question_type": require_text(entry, "question_type", where),
            "answer_type": require_text(entry, "answer_type", where),
        }
    return found
