"""A user's own media with captions or questions, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..registry import DATASETS
from .base import BaseRetrievalDataset
from .base_question import BaseQuestionDataset, Question
from .caption import BaseCaptionDataset
from .karpathy import CaptionedImage
from .media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from .readers import read_json_lines, require_file, require_id, require_text, require_texts


@DATASETS.register_module()
class RetrievalJsonDataset(BaseRetrievalDataset):
    """Images or videos with captions from a JSON-lines file.

    Every line is an object with ``media`` (a path relative to ``data_prefix['media']``) and either
    ``text`` (one caption) or ``texts`` (a list of them)::

        {"media": "dog.mp4", "text": "a dog runs on the beach"}
        {"media": "cat.jpg", "texts": ["a cat sleeps", "an animal on a sofa"]}

    Lines that name the same medium are merged. Other keys are ignored. See
    :class:`BaseRetrievalDataset` for the arguments.
    """

    def __init__(
        self, extensions: Sequence[str] = VIDEO_EXTENSIONS + IMAGE_EXTENSIONS, **kwargs: Any
    ) -> None:
        super().__init__(extensions=extensions, **kwargs)

    def load_captions(self) -> Iterator[tuple[str, str]]:
        """Yield (medium, caption) of every caption."""
        path = require_file(self.ann_file, "ann_file")
        for line, entry in read_json_lines(path):
            where = f"{path}: line {line}"
            name = require_text(entry, "media", where)
            for caption in _captions(entry, where):
                yield name, caption


def _captions(entry: Any, where: str) -> list[str]:
    if ("text" in entry) == ("texts" in entry):
        raise ValueError(f"{where}: exactly one of the keys 'text' and 'texts' is expected.")
    if "text" in entry:
        return [require_text(entry, "text", where)]
    if not isinstance(entry["texts"], list) or not entry["texts"]:
        raise ValueError(f"{where}: 'texts' must be a list of at least one caption.")
    return require_texts(entry, "texts", where)


@DATASETS.register_module()
class CaptionJsonDataset(BaseCaptionDataset):
    """Images or videos to describe, from a JSON-lines file.

    The lines are those of :class:`RetrievalJsonDataset`; ``image_id`` is the key of that name, else
    the name of the medium. In testing ``text`` and ``texts`` may be missing from all lines, for
    media that are only to be described::

        {"media": "dog.mp4", "text": "a dog runs on the beach"}
        {"media": "cat.jpg", "texts": ["a cat sleeps", "an animal on a sofa"], "image_id": 7}

    See :class:`BaseCaptionDataset` for the arguments.
    """

    def __init__(
        self, extensions: Sequence[str] = VIDEO_EXTENSIONS + IMAGE_EXTENSIONS, **kwargs: Any
    ) -> None:
        super().__init__(extensions=extensions, **kwargs)

    def load_images(self) -> Iterator[CaptionedImage]:
        """Yield the media of the file, an entry a line."""
        path = require_file(self.ann_file, "ann_file")
        ids: dict[int | str, str] = {}
        for line, entry in read_json_lines(path):
            where = f"{path}: line {line}"
            name = require_text(entry, "media", where)
            image_id = require_id(entry, "image_id", where) if "image_id" in entry else name
            if ids.setdefault(image_id, name) != name:
                raise ValueError(
                    f"{where}: image_id {image_id!r} of {name!r} is also that of "
                    f"{ids[image_id]!r}; every medium needs an identifier of its own."
                )
            unlabelled = self.test_mode and not {"text", "texts"} & set(entry)
            captions = [] if unlabelled else _captions(entry, where)
            yield CaptionedImage(name, image_id, captions, where)


@DATASETS.register_module()
class VQAJsonDataset(BaseQuestionDataset):
    """Questions about images or videos, from a JSON-lines file.

    Every line is an object with ``media``, ``question`` and, except where there is nothing to
    measure, either ``answer`` (one) or ``answers`` (one an annotator, repeats and all: an answer's
    share of them is its weight in training). ``question_id`` (else the number of the line),
    ``question_type`` and ``answer_type`` may be given::

        {"media": "cat.jpg", "question": "What is it?", "answer": "cat"}
        {"media": "dog.mp4", "question": "Who runs?", "answers": ["dog", "dog", "a dog"]}

    See :class:`BaseQuestionDataset` for the arguments.
    """

    def __init__(
        self, extensions: Sequence[str] = VIDEO_EXTENSIONS + IMAGE_EXTENSIONS, **kwargs: Any
    ) -> None:
        super().__init__(extensions=extensions, **kwargs)

    def load_questions(self) -> Iterator[Question]:
        """Yield the questions of the file."""
        path = require_file(self.ann_file, "ann_file")
        for line, entry in read_json_lines(path):
            where = f"{path}: line {line}"
            media, question = (require_text(entry, key, where) for key in ("media", "question"))
            if "answer" in entry and "answers" in entry:
                raise ValueError(f"{where}: only one of the keys 'answer' and 'answers' may stand.")
            answers = [
                require_texts(entry, key, where) for key in ("answer", "answers") if key in entry
            ]
            kinds: dict[str, Any] = {
                key: require_text(entry, key, where)
                for key in ("question_type", "answer_type")
                if key in entry
            }
            own = "question_id" in entry
            yield Question(
                media=media,
                question=question,
                question_id=require_id(entry, "question_id", where) if own else line,
                where=where,
                answers=answers[0] if answers else None,
                **kinds,
            )
