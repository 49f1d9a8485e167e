"""Captioning: one item a caption in training, one item an image in testing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from ..registry import DATASETS
from .base import BaseMediaDataset
from .karpathy import CaptionedImage, read_captioned_images
from .media import IMAGE_EXTENSIONS


class BaseCaptionDataset(BaseMediaDataset):
    """Media to describe.

    A training item has ``text``, one caption; a test item ``image_id`` and, where the split has
    them, ``gt_captions``, all captions of the medium (entries that name it are merged).

    See :class:`BaseMediaDataset` for the arguments and for unreadable media.
    """

    METAINFO: dict[str, Any] = {"task": "caption"}

    @abstractmethod
    def load_images(self) -> Iterable[CaptionedImage]:
        """Read the annotations.

        Returns:
            Entries in the order of the file, validated.
        """

    def load_data_list(self) -> list[dict]:
        """Return the items: one a caption in training, one a medium in testing."""
        entries = list(self.load_images())
        self._require_items(entries, "image")
        media = self._find_media(entry.image for entry in entries)
        if not self.test_mode:
            items = [
                {**media[entry.image], "image_id": entry.image_id, "text": caption}
                for entry in entries
                for caption in entry.captions
            ]
            self._require_items(items, "caption to train on")
            return items
        merged: dict[str, dict] = {}
        for entry in entries:
            item = {**media[entry.image], "image_id": entry.image_id, "gt_captions": []}
            merged.setdefault(entry.image, item)["gt_captions"].extend(entry.captions)
        without = [name for name, item in merged.items() if not item["gt_captions"]]
        if without and len(without) < len(merged):
            raise ValueError(
                f"{self.split_name}: {len(without)} of {len(merged)} images have no caption, such "
                f"as {without[0]!r}; give captions to all, or to none of a split to predict on."
            )
        for item in merged.values():
            if without:
                del item["gt_captions"]
        return list(merged.values())

    def coco_ground_truth(self) -> dict[str, list[dict]]:
        """The right captions of a test split as COCO's scorers read them.

        Returns:
            ``images`` (list of ``id``) and ``annotations`` (list of ``image_id``, ``caption`` and
            ``id``).

        Raises:
            ValueError: If the dataset is one for training.
        """
        if not self.test_mode:
            raise ValueError("coco_ground_truth() needs a dataset with test_mode=True.")
        infos = [self.get_data_info(index) for index in range(len(self))]
        pairs = [(info["image_id"], text) for info in infos for text in info.get("gt_captions", ())]
        return {
            "images": [{"id": info["image_id"]} for info in infos],
            "annotations": [
                {"image_id": image_id, "caption": caption, "id": number}
                for number, (image_id, caption) in enumerate(pairs)
            ],
        }


@DATASETS.register_module()
class COCOCaption(BaseCaptionDataset):
    """COCO captioning on the Karpathy split (113,287 / 5,000 / 5,000 images).

    ``ann_file`` is in BLIP's format (one file a split) or Karpathy's own ``dataset_coco.json``, see
    :func:`read_captioned_images`. ``image_id`` is COCO's number of the image, so that the metric
    can be given a ground truth in COCO's format (``coco_karpathy_test_gt.json``) instead.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'`` of Karpathy's own file; None for BLIP's.
        **kwargs: See :class:`BaseCaptionDataset`.

    Raises:
        ValueError: As :func:`read_captioned_images`, and as the base class.
        FileNotFoundError: When the file or the folder of images does not exist.
    """

    METAINFO = {"dataset": "COCO", "task": "caption"}

    def __init__(
        self,
        split: str | None = None,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        self.split = split
        super().__init__(extensions=extensions, **kwargs)

    def load_images(self) -> list[CaptionedImage]:
        """Return the images of the split."""
        return read_captioned_images(self.ann_file, self.split)
