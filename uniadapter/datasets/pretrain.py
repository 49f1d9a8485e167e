"""Still images with captions from two files, to pre-train a small backbone on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from ..registry import DATASETS
from ..utils.json_files import brief
from .readers import read_json, require_file


@DATASETS.register_module()
class StillCaptionDataset(BaseDataset):
    """Stills of one size in a ``.npy`` file, their captions in a JSON file.

    The pictures are one array (S, H, W, 3) uint8 RGB that is mapped into memory, so that the
    workers of a data loader share it; the captions are a list of S lists of texts. An item of a
    training set is one caption with its still, an item of a test set one still with all its
    captions. ``frames``, (1, H, W, 3), is in the item already: the pipeline begins where
    ``LoadVideo`` would end.

    Args:
        ann_file: Captions, absolute or relative to ``data_root``.
        image_file: Pictures, absolute or relative to ``data_root``.
        data_root: Folder of both.
        pipeline: Transforms, as configs or callables.
        test_mode: One item a still instead of one a caption.
        indices: Keep these stills only: a list of numbers, or n for the first n and -n for the
            last n, which makes a held-out split of one pair of files.

    Raises:
        FileNotFoundError: When one of the files does not exist.
        ValueError: When the array has another type or shape, when the files differ in length, or
            when a still has no caption; the message names the file.
    """

    METAINFO: dict[str, Any] = {"task": "pretrain"}

    def __init__(
        self,
        ann_file: str,
        image_file: str,
        data_root: str = "",
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        if indices == 0:
            raise ValueError("StillCaptionDataset: indices = 0 leaves no still; use None for all.")
        self.image_file = str(Path(data_root) / image_file)
        self.stills = indices
        self._images: np.ndarray | None = None
        super().__init__(
            ann_file=ann_file, data_root=data_root, pipeline=list(pipeline), test_mode=test_mode
        )

    def load_data_list(self) -> list[dict]:
        """Return the items, see the class."""
        texts = read_json(require_file(self.ann_file, "ann_file"))
        images = self._open_images()
        if not isinstance(texts, list) or len(texts) != len(images):
            raise ValueError(
                f"{self.ann_file}: a list with captions of each of the {len(images)} stills of "
                f"{self.image_file} is expected; tools/dataset_converters/make_toy_world.py "
                "--force writes both anew."
            )
        items = []
        for still in self._chosen(len(texts)):
            captions = texts[still]
            listed = isinstance(captions, list) and len(captions) > 0
            if not listed or not all(isinstance(c, str) and c.strip() for c in captions):
                raise ValueError(
                    f"{self.ann_file}: still {still} lacks a caption or has an empty one: a list "
                    f"of texts is expected, got {brief(captions)}."
                )
            name = f"{self.image_file}#{still}"
            info = {"media_path": name, "media_id": still, "video_id": f"still{still}"}
            if self.test_mode:
                items.append({**info, "texts": captions})
            else:
                items.extend({**info, "text": caption} for caption in captions)
        if not items:
            raise ValueError(f"{self.ann_file}: zero-length split, no still is left.")
        return items

    def _chosen(self, total: int) -> Sequence[int]:
        if self.stills is None:
            return range(total)
        if isinstance(self.stills, int):
            return range(total)[: self.stills] if self.stills > 0 else range(total)[self.stills :]
        if any(not 0 <= still < total for still in self.stills):
            raise ValueError(f"{self.ann_file}: indices reach beyond the {total} stills.")
        return self.stills

    def get_data_info(self, idx: int) -> dict:
        """Return item ``idx`` with its picture as ``frames`` (1, H, W, 3) uint8."""
        info = super().get_data_info(idx)
        # A copy: the mapped file is read-only, and transforms may write.
        info["frames"] = np.array(self._open_images()[info["media_id"]])[None]
        return info

    def _open_images(self) -> np.ndarray:
        if self._images is None:
            path = require_file(self.image_file, "image_file")
            try:
                images = np.load(path, mmap_mode="r", allow_pickle=False)
            # Damaged heads fail in many unrelated ways.
            except Exception as error:
                said = str(error) or type(error).__name__
                raise ValueError(f"{path}: no array of stills can be read ({said}).") from error
            if not isinstance(images, np.ndarray):
                raise ValueError(f"{path}: an archive of arrays; a single one (.npy) is expected.")
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
                raise ValueError(
                    f"{path}: an array (S, H, W, 3) of uint8 is expected, got {images.shape} of "
                    f"{images.dtype}."
                )
            self._images = images
        return self._images
