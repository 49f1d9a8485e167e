"""The end of a pipeline: what the data loader hands to the preprocessor."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS
from ...structures import MultimodalSample

_META_KEYS = ("media_id", "video_id", "media_path", "text", "texts")


@TRANSFORMS.register_module()
class PackInputs(BaseTransform):
    """Pack frames and facts into ``dict(inputs, data_samples)``.

    ``inputs`` is a (N, 3, H, W) uint8 tensor, ``data_samples`` a :class:`MultimodalSample`.
    """

    def transform(self, results: dict) -> dict:
        """Return the packed sample."""
        frames = np.ascontiguousarray(results["frames"].transpose(0, 3, 1, 2))
        metainfo = {key: results[key] for key in _META_KEYS if key in results}
        metainfo["replaced"] = list(results.get("replaced", ()))
        metainfo["skipped"] = False
        return {
            "inputs": torch.from_numpy(frames),
            "data_samples": MultimodalSample(metainfo=metainfo),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
