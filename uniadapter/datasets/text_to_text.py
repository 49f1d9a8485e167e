"""A user's own texts with what is to be written, one JSON object a line."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import BaseDataset

from ..registry import DATASETS
from .readers import read_json_lines, require_file, require_text


@DATASETS.register_module()
class TextToTextJson(BaseDataset):
    """Pairs of texts for :class:`~uniadapter.models.Seq2SeqModel`.

    Every line is an object with ``text``, what is read, and ``target``, what is to be written; in
    testing ``target`` may be missing::

        {"text": "rte sentence1: a dog runs sentence2: something runs", "target": "0"}

    Args:
        ann_file: The file, absolute or relative to ``data_root``.
        **kwargs: Those of mmengine's ``BaseDataset``.

    Raises:
        ValueError: For a line that is incomplete, or a file without any.
        FileNotFoundError: When the file does not exist.
    """

    METAINFO: dict[str, Any] = {"task": "text to text"}

    def __init__(self, ann_file: str, **kwargs: Any) -> None:
        super().__init__(ann_file=ann_file, data_prefix={}, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return the items, one a line."""
        path = require_file(self.ann_file, "ann_file")
        items: list[dict] = []
        for line, entry in read_json_lines(path):
            where = f"{path}: line {line}"
            item = {"index": len(items), "text": require_text(entry, "text", where)}
            if not self.test_mode or "target" in entry:
                item["target"] = require_text(entry, "target", where)
            items.append(item)
        if not items:
            raise ValueError(f"{path}: no line; is it the right file and complete?")
        return items
