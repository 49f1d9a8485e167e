"""Questions about pictures: VQA on Karpathy's split and GQA, in the files of VL-T5."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from ...registry import DATASETS
from ...utils.answer_classes import read_answer_classes
from ...utils.json_files import brief
from ..readers import read_list, require_file, require_id, require_text
from ..scores import read_scores
from ..vqa import read_vqa_annotations
from .base import BaseFeatureDataset, Once, refuse_some, whole_text

_SOURCE = "VL-T5's question files"
_TYPES = ("question_type", "answer_type")


@DATASETS.register_module()
class FeatureVQA(BaseFeatureDataset):
    """VQA (``karpathy_{train,val,test}.json``) or GQA (``{train,valid,testdev}.json``).

    A file is a JSON list of ``{"question_id", "img_id", "sent", "label": {answer: score}}``, of VQA
    with ``question_type``, ``answer_type`` and, for some, ``is_topk_optimal``; files of questions
    to be submitted have no ``label``.

    What is read is the prefix and the question. In training an answer is drawn at every access,
    from the worker's generator, with a probability in proportion to its score, which is its
    weight; a question without an answer that scores has the target ``''`` of weight 0.

    A test item has ``question_id``, the types, ``gt_scores`` (``{answer: score}``) where the file
    has labels, and ``gt_answers``, the annotators' ten answers, where ``annotations`` are given.

    Args:
        ann_file: File or files of questions.
        features: See the base class.
        task: ``'vqa'`` or ``'gqa'``. Defaults to ``'vqa'``.
        prefix: See the base class. Defaults to False.
        annotations: VQAv2's official file or files (``v2_mscoco_val2014_annotations.json``), whose
            ten answers the accuracy compares with; testing only. Defaults to none.
        label2ans: The answers that labels may name, a JSON list (``trainval_label2ans.json``); a
            label with another one is an error. Defaults to none: any will do.
        **kwargs: See the base class.

    Raises:
        ValueError: When a question is incomplete, its identifier repeats, or labels and answers
            don't fit; the message names file, position and key.
        FileNotFoundError: When a file, the folder of features or one of them does not exist.
    """

    METAINFO: dict[str, Any] = {"dataset": "FeatureVQA", "task": "vqa"}
    TASKS = ("vqa", "gqa")

    def __init__(
        self,
        ann_file: str | Sequence[str],
        features: dict[str, Any],
        task: str = "vqa",
        prefix: bool | str = False,
        annotations: str | Sequence[str] = (),
        label2ans: str = "",
        **kwargs: Any,
    ) -> None:
        self.annotations = [annotations] if isinstance(annotations, str) else list(annotations)
        self.label2ans = label2ans
        if self.annotations and not kwargs.get("test_mode"):
            raise ValueError(
                "FeatureVQA.annotations are what tests compare with, and training takes answers "
                "from 'label': leave it out, or set test_mode=True."
            )
        super().__init__(ann_file, features, task, prefix, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.annotations = [self._joined(path) for path in self.annotations]
        self.label2ans = self._joined(self.label2ans)

    def load_data_list(self) -> list[dict]:
        """Return the items, one a question."""
        self._known: set[str] | None = None
        if self.label2ans:
            path = require_file(self.label2ans, "label2ans")
            self._known = set(read_answer_classes(path))
        self._given = self._read_annotations()
        self._ids = Once("question_id")
        items = super().load_data_list()
        del self._known, self._given, self._ids
        return items

    def items_of(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the questions of a file."""
        items = []
        for index, entry in enumerate(read_list(path, _SOURCE)):
            where = f"{path}: entry {index}"
            question = whole_text(entry, "sent", where)
            number = require_id(entry, "question_id", where)
            self._ids.check(number, where)
            item: dict[str, Any] = {
                "where": where,
                "images": [str(require_id(entry, "img_id", where))],
                "text": self.prefix + question,
                "question": question,
                "question_id": number,
            }
            item.update({key: require_text(entry, key, where) for key in _TYPES if key in entry})
            items.append({**item, **self._truth(entry, number, where)})
        refuse_some(items, "gt_scores", "label", path)
        yield from items

    def _truth(self, entry: dict[str, Any], number: int | str, where: str) -> dict[str, Any]:
        """What the right answers of a question are."""
        scores = read_scores(entry, where)
        if scores is None and not self.test_mode:
            raise ValueError(
                f"{where}: key 'label' is missing: training needs the scores of answers; a file to "
                "submit needs test_mode=True."
            )
        truth: dict[str, Any] = {} if scores is None else {"gt_scores": scores}
        outside = [a for a in scores or () if self._known is not None and a not in self._known]
        if outside:
            raise ValueError(
                f"{where}: 'label' of question {number!r} names the answer {outside[0]!r}, which "
                f"is not in {self.label2ans}; name the list of this file, or leave label2ans out."
            )
        if "is_topk_optimal" in entry:
            truth["is_topk_optimal"] = entry["is_topk_optimal"]
            if not isinstance(truth["is_topk_optimal"], bool):
                raise ValueError(
                    f"{where}: 'is_topk_optimal' must be true or false, got "
                    f"{brief(truth['is_topk_optimal'])}."
                )
        if self._given is not None:
            if number not in self._given:
                raise ValueError(
                    f"{where}: question_id {number!r} has no annotation in "
                    f"{' + '.join(self.annotations)}; the files belong to different splits, or one "
                    "is incomplete."
                )
            truth["gt_answers"] = self._given[number]
        return truth

    def _read_annotations(self) -> dict[int | str, list[str]] | None:
        """The annotators' answers by identifier of the question."""
        found: dict[int | str, list[str]] = {}
        for path in self.annotations:
            content = read_vqa_annotations(path, "annotations")
            own = {number: facts["answers"] for number, facts in content.items()}
            twice = next((number for number in own if number in found), None)
            if twice is not None:
                raise ValueError(
                    f"{path}: question_id {twice!r} is in another file of annotations too; name "
                    "each file once."
                )
            found.update(own)
        return found if self.annotations else None

    def complete(self, item: dict[str, Any]) -> dict[str, Any]:
        """Draw the answer of a training item."""
        if self.test_mode:
            return item
        scores = item.pop("gt_scores")
        answers = [answer for answer, score in scores.items() if score > 0]
        drawn = random.choices(answers, [scores[answer] for answer in answers]) if answers else [""]
        weight = scores[drawn[0]] if answers else 0.0
        return {**item, "target": drawn[0], "target_weight": weight}
