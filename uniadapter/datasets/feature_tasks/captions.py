"""Captions of COCO's pictures on Karpathy's split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from ...registry import DATASETS
from ..karpathy import SPLITS, read_captioned_images
from .base import BaseFeatureDataset, Once


@DATASETS.register_module()
class FeatureCaption(BaseFeatureDataset):
    """COCO captions from Karpathy's ``dataset_coco.json``; ``restval`` counts as training.

    What is read is the prefix alone, or the empty text. A training item is a caption, its target; a
    test item a picture, with ``image_id`` (COCO's number) and ``gt_captions``, all its captions.
    Features are called as the picture without its extension
    (``COCO_val2014_000000391895``).

    Args:
        ann_file: The file.
        features: See the base class.
        split: ``'train'``, ``'val'`` or ``'test'``.
        task: ``'caption'``.
        prefix: See the base class. Defaults to False.
        **kwargs: See the base class.

    Raises:
        ValueError: When the split is unknown, a picture is incomplete or stands in the file twice,
            or two have the same name.
        FileNotFoundError: When a file, the folder of features or one of them does not exist.
    """

    METAINFO: dict[str, Any] = {"dataset": "COCO", "task": "caption"}
    TASKS = ("caption",)

    def __init__(
        self,
        ann_file: str | Sequence[str],
        features: dict[str, Any],
        split: str,
        task: str = "caption",
        prefix: bool | str = False,
        **kwargs: Any,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"FeatureCaption: split must be one of {SPLITS}, got {split!r}.")
        self.split = split
        super().__init__(ann_file, features, task, prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return the items: one a caption in training, one a picture in testing."""
        self._ids, self._names = Once("image id"), Once("picture")
        items = super().load_data_list()
        del self._ids, self._names
        return items

    def items_of(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the items of a file."""
        for entry in read_captioned_images(path, self.split):
            name = os.path.splitext(os.path.basename(entry.image))[0]
            self._ids.check(entry.image_id, entry.where)
            self._names.check(name, entry.where)
            item = {
                "where": entry.where,
                "images": [name],
                "text": self.prefix,
                "image_id": entry.image_id,
            }
            if self.test_mode:
                yield {**item, "gt_captions": entry.captions}
                continue
            for caption in entry.captions:
                yield {**item, "target": caption, "target_weight": 1.0}
