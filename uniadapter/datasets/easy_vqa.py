"""easy-VQA: questions about coloured shapes, from the files that the package ``easy-vqa`` ships."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..registry import DATASETS
from ..utils.json_files import brief
from .base_question import BaseQuestionDataset, Question
from .media import IMAGE_EXTENSIONS
from .readers import read_list, require_file, require_text

_SPLITS = ("train", "test")


@DATASETS.register_module()
class EasyVQA(BaseQuestionDataset):
    """easy-VQA (38,575 / 9,673 questions about 4,000 / 1,000 images of 64 x 64, 13 answers).

    The file ``<split>/questions.json`` is a list of ``[question, answer, number of the image]``,
    the pictures are ``<split>/images/<number>.png``. Both come with the Python package ``easy-vqa``
    (``pip install easy-vqa``), which is found but not imported. A question's ``question_type`` is
    told by its words: ``'color'``, ``'shape'`` or ``'yes/no'``.

    Args:
        split: ``'train'`` or ``'test'``.
        data_root: Folder with ``train/`` and ``test/``; None is the installed package's.
        **kwargs: See :class:`BaseQuestionDataset`.

    Raises:
        ValueError: For an unknown split or a broken entry.
        FileNotFoundError: When the package is not installed and ``data_root`` is None.
    """

    METAINFO = {"dataset": "easy-VQA", "task": "vqa"}

    def __init__(
        self,
        split: str,
        data_root: str | None = None,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"EasyVQA: split must be one of {_SPLITS}, got {split!r}.")
        super().__init__(
            ann_file=f"{split}/questions.json",
            data_root=find_easy_vqa() if data_root is None else data_root,
            data_prefix={"media": f"{split}/images/"},
            extensions=extensions,
            **kwargs,
        )

    def load_questions(self) -> Iterator[Question]:
        """Yield the questions of the split; a question's identifier is its place in the file."""
        path = require_file(self.ann_file, "ann_file")
        for index, entry in enumerate(read_list(path, "the files of the package easy-vqa")):
            where = f"{path}: entry {index}"
            if not isinstance(entry, list) or len(entry) != 3:
                raise ValueError(
                    f"{where}: [question, answer, image] is expected, got {brief(entry)}."
                )
            fields = dict(zip(("question", "answer", "image"), entry, strict=True))
            image = fields["image"]
            if not isinstance(image, int) or isinstance(image, bool):
                raise ValueError(
                    f"{where}: the number of an image is expected, got {brief(image)}."
                )
            question = require_text(fields, "question", where)
            yield Question(
                media=f"{image}.png",
                question=question,
                question_id=index,
                where=where,
                answers=[require_text(fields, "answer", where)],
                question_type=_type_of(question),
            )


def _type_of(question: str) -> str:
    """What is asked for; the file does not say it, but its questions are made from few patterns."""
    words = question.lower().rstrip("?").split()
    if "what" not in words:
        return "yes/no"
    return "color" if "color" in words else "shape"


def find_easy_vqa() -> str:
    """Folder of the data in the installed package ``easy-vqa``.

    Raises:
        FileNotFoundError: When it is not installed.
    """
    spec = importlib.util.find_spec("easy_vqa")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "The package easy-vqa, which ships the data, is not installed: pip install easy-vqa, "
            "or set data_root to a folder with train/ and test/."
        )
    return str(Path(spec.origin).parent / "data")
