"""The end of a pipeline: what the data loader hands to the preprocessor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS
from ...structures import META_KEYS, MultimodalSample


@TRANSFORMS.register_module()
class PackTexts(BaseTransform):
    """Pack the facts of an item without pixels into ``dict(data_samples)``.

    Args:
        meta_keys: Keys to hand on beside :data:`uniadapter.structures.META_KEYS`.
    """

    def __init__(self, meta_keys: Sequence[str] = ()) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Return the packed sample."""
        keys = (*META_KEYS, *self.meta_keys)
        metainfo = {key: results[key] for key in keys if key in results}
        return {"data_samples": MultimodalSample(metainfo=metainfo)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(meta_keys={self.meta_keys})"


@TRANSFORMS.register_module()
class PackInputs(BaseTransform):
    """Pack frames and facts into ``dict(inputs, data_samples)``.

    ``inputs`` is a (N, 3, H, W) uint8 tensor, ``data_samples`` a :class:`MultimodalSample` with
    what the item has of :data:`uniadapter.structures.META_KEYS` and of ``meta_keys``.

    Args:
        meta_keys: Further keys to hand on.
    """

    def __init__(self, meta_keys: Sequence[str] = ()) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Return the packed sample."""
        frames = np.ascontiguousarray(results["frames"].transpose(0, 3, 1, 2))
        metainfo = {key: results[key] for key in (*META_KEYS, *self.meta_keys) if key in results}
        metainfo["replaced"] = list(results.get("replaced", ()))
        metainfo["skipped"] = False
        return {
            "inputs": torch.from_numpy(frames),
            "data_samples": MultimodalSample(metainfo=metainfo),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(meta_keys={self.meta_keys})"


@TRANSFORMS.register_module()
class PackFeatures(PackTexts):
    """Pack the text, the features and the facts of an item without pixels.

    The result is ``dict(inputs=dict(text, features), data_samples)``: ``text`` (str), what is
    read, which is the sample's ``text`` too; ``features``, a (I, N, D) float32 tensor of I
    pictures; and a :class:`MultimodalSample`. ``pseudo_collate`` makes lists of both inputs.

    Args:
        meta_keys: Keys to hand on beside :data:`uniadapter.structures.META_KEYS`.
    """

    def transform(self, results: dict) -> dict:
        """Return the packed sample."""
        inputs = {"text": results["text"], "features": torch.from_numpy(results["features"])}
        return {"inputs": inputs, **super().transform(results)}
