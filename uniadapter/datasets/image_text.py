"""Image-text retrieval on COCO and Flickr30K."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..registry import DATASETS
from .base import BaseRetrievalDataset
from .karpathy import read_captioned_images
from .media import IMAGE_EXTENSIONS


@DATASETS.register_module()
class KarpathyRetrieval(BaseRetrievalDataset):
    """Image-text retrieval on the Karpathy split of COCO or Flickr30K.

    ``ann_file`` is in BLIP's format (one file a split) or Karpathy's own ``dataset_*.json`` (all
    splits; ``split`` chooses), see :func:`read_captioned_images`. All captions of an image are
    used: five, and for a few images of COCO more.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'`` of Karpathy's own file; None for BLIP's.
        **kwargs: See :class:`BaseRetrievalDataset`.

    Raises:
        ValueError: As :func:`read_captioned_images`, and as the base class.
        FileNotFoundError: When the file or the folder of images does not exist.
    """

    METAINFO = {"task": "retrieval"}

    def __init__(
        self,
        split: str | None = None,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        self.split = split
        super().__init__(extensions=extensions, **kwargs)

    def load_captions(self) -> Iterator[tuple[str, str]]:
        """Yield (image, caption) of every caption."""
        for entry in read_captioned_images(self.ann_file, self.split):
            for caption in entry.captions:
                yield entry.image, caption
