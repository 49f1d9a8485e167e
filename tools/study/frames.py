"""Clips that are decoded once and held in memory, at the size the model sees.

A short training on small clips would spend a fifth of its time on decoding the same files. The
frames are bit for bit those that ``LoadVideo`` and ``VideoResize`` give, and the same are drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import Config

from uniadapter.datasets.transforms.backends import open_media
from uniadapter.datasets.transforms.sampling import sample_frames
from uniadapter.registry import TRANSFORMS

#: Frames (N, H, W, 3) of each medium, by its path and size; children of a fork share them.
_HELD: dict[tuple[str, int], np.ndarray] = {}


def _load(path: str, size: int, backend: str) -> np.ndarray:
    if (path, size) not in _HELD:
        reader = open_media(path, backend)
        frames = reader.get_frames(list(range(len(reader))))
        resize = TRANSFORMS.build({"type": "VideoResize", "size": size})
        _HELD[path, size] = resize({"frames": frames})["frames"]
    return _HELD[path, size]


@TRANSFORMS.register_module()
class HeldVideo(BaseTransform):
    """``LoadVideo`` and ``VideoResize`` in one, from memory where the medium was met before.

    Args:
        num_frames: See ``LoadVideo``.
        sampling: See ``LoadVideo``.
        size: Side of the frames in pixels.
        backend: Name of ``LoadVideo``'s backend.
    """

    def __init__(self, num_frames: int, sampling: str, size: int, backend: str = "auto") -> None:
        self.num_frames, self.sampling, self.size = num_frames, sampling, size
        self.backend = backend

    def transform(self, results: dict) -> dict:
        """Add ``frames`` and ``frame_indices``."""
        held = _load(results["media_path"], self.size, self.backend)
        indices = sample_frames(len(held), self.num_frames, self.sampling)
        results["frames"], results["frame_indices"] = held[indices], indices
        return results


def hold(cfg: Config) -> None:
    """Put :class:`HeldVideo` in the place of decoding, where a pipeline begins with the two."""
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        if "pipeline" not in dataset:
            # Several data sets of features.
            continue
        load, resize, *rest = dataset.pipeline
        if (load.type, resize.type) != ("LoadVideo", "VideoResize"):
            continue
        backend = load.get("backend", {"type": "auto"})["type"]
        held: dict[str, Any] = dict(
            type="HeldVideo",
            num_frames=load.num_frames,
            sampling=load.get("sampling", "center"),
            size=resize.size,
            backend=backend,
        )
        dataset.pipeline = [held, *rest]


def preload(folder: Path, size: int, backend: str = "auto") -> int:
    """Decode every clip of a folder; processes forked afterwards need not do it again.

    Returns:
        Bytes held.
    """
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return sum(_load(str(path), size, backend).nbytes for path in paths)
