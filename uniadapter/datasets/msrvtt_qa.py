"""MSRVTT-QA from its published files."""

from __future__ import annotations

from collections.abc import Iterator

from ..registry import DATASETS
from .base_question import BaseQuestionDataset, Question
from .readers import read_list, require_file, require_id, require_text


@DATASETS.register_module()
class MSRVTTQA(BaseQuestionDataset):
    """MSRVTT-QA (158,581 / 12,278 / 72,821 questions about the videos of MSR-VTT).

    ``ann_file`` is the published ``train_qa.json``, ``val_qa.json`` or ``test_qa.json``: a list of
    ``question``, ``answer``, ``video_id`` (the number in ``video0.mp4``) and ``id``. A question has
    one answer. The candidates of ``inference='rank'`` come from the training answers:
    ``tools/dataset_converters/build_answer_list.py`` writes them.

    See :class:`BaseQuestionDataset` for the arguments.
    """

    METAINFO = {"dataset": "MSRVTT-QA", "task": "vqa"}

    def load_questions(self) -> Iterator[Question]:
        """Yield the questions of the split."""
        path = require_file(self.ann_file, "ann_file")
        for index, entry in enumerate(read_list(path, "the published MSRVTT-QA files")):
            where = f"{path}: entry {index}"
            question = require_text(entry, "question", where)
            video = require_id(entry, "video_id", where)
            yield Question(
                media=f"video{video}" if isinstance(video, int) else video,
                question=question,
                question_id=require_id(entry, "id", where),
                where=where,
                # Without the key the split is one to predict on; a blank answer is an error.
                answers=[require_text(entry, "answer", where)] if "answer" in entry else None,
            )
