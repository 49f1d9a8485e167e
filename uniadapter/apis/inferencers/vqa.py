"""Answers to questions about pictures and videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from uniadapter.models.tasks import AnswerClassModel, VQAModel
from uniadapter.structures import MultimodalSample
from uniadapter.visualization.report import Entry

from .base import BaseInferencer, media_facts, packed


class VisualQuestionAnsweringInferencer(BaseInferencer):
    """Answers questions about pictures or videos, as the test loop does.

    See :class:`BaseInferencer` for the arguments.
    """

    needs = "a model that answers questions (VQAModel, AnswerClassModel)"
    task = "Question Answering"

    @classmethod
    def runs(cls, model: nn.Module) -> bool:
        """Whether it answers questions."""
        return isinstance(model, VQAModel | AnswerClassModel)

    def __call__(  # type: ignore[override]
        self,
        images_or_videos: Any,
        questions: str | Sequence[str],
        return_datasamples: bool = False,
        batch_size: int = 8,
        **kwargs: Any,
    ) -> list:
        """Answer questions.

        Args:
            images_or_videos (Any): One medium or a list of them, see :mod:`uniadapter.apis.inputs`.
            questions (str | Sequence[str]): A question for each; or one for all of them; or many
                for a single medium, which is read once.
            return_datasamples (bool): See :meth:`BaseInferencer.__call__`. Defaults to False.
            batch_size (int): Questions at once. Defaults to 8.
            **kwargs: ``show_dir`` and ``out_file``, see :meth:`BaseInferencer.__call__`.

        Returns:
            list: For each question a dict with ``question`` (str), as it was given, and
            ``pred_answer`` (str).

        Raises:
            MediaError: If a medium can't be read.
            ValueError: If there is none, their numbers differ, or a question is blank.
        """
        if isinstance(questions, bytes) or not isinstance(questions, Iterable):
            raise ValueError(
                f"A question or a list of questions is expected, got {type(questions).__name__}."
            )
        media = super()._inputs_to_list(images_or_videos)
        asked = [questions] if isinstance(questions, str) else list(questions)
        if len(asked) == 1:
            asked = asked * len(media)
        elif len(media) == 1:
            media = media * len(asked)
        if len(media) != len(asked):
            raise ValueError(
                f"{len(media)} pictures or videos have {len(asked)} questions: give as many, or a "
                "single one of either."
            )
        pairs = list(zip(media, asked, strict=True))
        return super().__call__(pairs, return_datasamples, batch_size, **kwargs)

    def _inputs_to_list(self, inputs: Any) -> list:
        """Pairs, as :meth:`__call__` makes them."""
        return list(inputs)

    def items(self, inputs: list) -> Iterator[dict[str, Any]]:
        """See the base class; a medium with several questions in a row is read once."""
        last, frames = None, None
        for index, (medium, question) in enumerate(inputs):
            if frames is None or medium is not last:
                last, frames = medium, self.read(medium)
            text = self.pipeline.read_text(question)
            facts = {"question": question, "question_id": index, "text": text}
            yield packed(frames, media_facts(medium, index), **facts)

    def result(self, sample: MultimodalSample) -> dict[str, str]:
        """The question and its answer."""
        return {"question": sample.question, "pred_answer": sample.pred_answer}

    def entry(self, given: Any, sample: MultimodalSample) -> Entry:
        """The question, its answer and the frames."""
        medium, question = given
        return Entry(question, [sample.pred_answer], [self.panel(medium)])
