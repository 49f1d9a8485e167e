"""A user's own media and captions, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..registry import DATASETS
from .base import BaseRetrievalDataset
from .media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from .readers import read_json_lines, require_file, require_text


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
            if ("text" in entry) == ("texts" in entry):
                raise ValueError(
                    f"{where}: exactly one of the keys 'text' and 'texts' is expected."
                )
            if "text" in entry:
                yield name, require_text(entry, "text", where)
                continue
            texts = entry["texts"]
            if not isinstance(texts, list) or not texts:
                raise ValueError(f"{where}: 'texts' must be a list of at least one caption.")
            for index, text in enumerate(texts):
                yield name, require_text({"texts": text}, "texts", f"{where}: item {index}")
