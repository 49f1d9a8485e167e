"""DiDeMo from its published files, as paragraph-to-video retrieval."""

from __future__ import annotations

from collections.abc import Iterator

from ..registry import DATASETS
from .base import BaseRetrievalDataset
from .readers import read_json, require_file, require_text


@DATASETS.register_module()
class DiDeMoRetrieval(BaseRetrievalDataset):
    """DiDeMo paragraph-to-video retrieval (8,395 / 1,065 / 1,004 videos).

    ``ann_file`` is the published ``train_data.json``, ``val_data.json`` or ``test_data.json``: a
    list of entries of which ``video`` and ``description`` are read. The descriptions of a video,
    in the order of the file, are joined into the one paragraph it is retrieved by. The names carry
    their original extension or none; files converted to another one of ``extensions`` are found.

    See :class:`BaseRetrievalDataset` for the arguments.
    """

    METAINFO = {"dataset": "DiDeMo", "task": "retrieval"}

    def load_captions(self) -> Iterator[tuple[str, str]]:
        """Yield (video name, paragraph) of every video."""
        path = require_file(self.ann_file, "ann_file")
        content = read_json(path)
        if not isinstance(content, list):
            raise ValueError(
                f"{path}: a list of entries is expected, as in the published DiDeMo files, got "
                f"{type(content).__name__}."
            )
        sentences: dict[str, list[str]] = {}
        for index, entry in enumerate(content):
            where = f"{path}: entry {index}"
            name = require_text(entry, "video", where)
            sentences.setdefault(name, []).append(require_text(entry, "description", where))
        for name, parts in sentences.items():
            yield name, " ".join(parts)
