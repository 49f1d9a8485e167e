"""Statements about two pictures: NLVR2 in the files of VL-T5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...registry import DATASETS
from ...utils.json_files import brief
from ..readers import read_list, require_id, require_text
from .base import BaseFeatureDataset, Once, refuse_some, whole_text

#: What is written of a statement that is false, and of one that is true.
TRUTHS = ("false", "true")


@DATASETS.register_module()
class FeatureNLVR2(BaseFeatureDataset):
    """NLVR2 (``{train,valid,test}.json``; ``test`` is test-P): is a statement true of two pictures?

    A file is a JSON list of ``{"uid", "identifier", "img0", "img1", "sent", "label"}``, ``label``
    being 0 or 1; in testing it may be missing from all entries.

    What is read is the prefix and the statement, beside the features of both pictures; the target
    is ``'true'`` or ``'false'``. A test item has ``question_id`` (the ``uid``), ``identifier`` and
    ``label``.

    Args:
        ann_file: File or files of statements.
        features: See the base class.
        task: ``'nlvr'``.
        prefix: See the base class. Defaults to False.
        **kwargs: See the base class.

    Raises:
        ValueError: When a statement is incomplete, or its ``uid`` repeats.
        FileNotFoundError: When a file, the folder of features or one of them does not exist.
    """

    METAINFO: dict[str, Any] = {"dataset": "NLVR2", "task": "nlvr"}
    TASKS = ("nlvr",)

    def __init__(
        self,
        ann_file: str | Sequence[str],
        features: dict[str, Any],
        task: str = "nlvr",
        prefix: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(ann_file, features, task, prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return the items, one a statement."""
        self._ids = Once("uid")
        items = super().load_data_list()
        del self._ids
        return items

    def items_of(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the statements of a file."""
        items = []
        for index, entry in enumerate(read_list(path, "VL-T5's files of NLVR2")):
            where = f"{path}: entry {index}"
            item: dict[str, Any] = {
                "where": where,
                "text": self.prefix + whole_text(entry, "sent", where),
                "question_id": require_id(entry, "uid", where),
                "identifier": require_text(entry, "identifier", where),
                "images": [str(require_id(entry, key, where)) for key in ("img0", "img1")],
            }
            self._ids.check(item["question_id"], where)
            if "label" in entry or not self.test_mode:
                item["label"] = _label(entry, where)
            items.append(item)
        refuse_some(items, "label", "label", path)
        yield from items

    def complete(self, item: dict[str, Any]) -> dict[str, Any]:
        """Add the target of a training item."""
        if self.test_mode:
            return item
        return {**item, "target": TRUTHS[item["label"]], "target_weight": 1.0}


def _label(entry: dict[str, Any], where: str) -> int:
    label = entry.get("label")
    if type(label) is not int or label not in (0, 1):
        raise ValueError(f"{where}: 'label' must be 0 (false) or 1 (true), got {brief(label)}.")
    return label
