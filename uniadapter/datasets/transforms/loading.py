"""From a path to frames."""

from __future__ import annotations

from typing import Any

from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS
from .backends import BACKENDS, open_media
from .sampling import SAMPLING_MODES, sample_frames


@TRANSFORMS.register_module()
class LoadVideo(BaseTransform):
    """Decode frames, sampled uniformly over the video; an image is a video of one frame.

    Required key: ``media_path``. Added keys: ``frames``, (N, H, W, 3) uint8 RGB, and
    ``frame_indices``, their numbers. Only these frames are decoded, by a reader that is opened for
    this call alone. A medium with fewer than N frames is sampled with repeats.

    Args:
        num_frames: N.
        sampling: ``'random'`` (training) or ``'center'`` (testing), see :func:`sample_frames`.
        backend: ``dict(type=...)`` with ``'auto'``, ``'decord'``, ``'av'``, ``'frames'`` or
            ``'image'``, see :func:`open_media`.

    Raises:
        ValueError: For an option outside its set.
        MediaError: In use, when the medium can't be read.
    """

    def __init__(
        self, num_frames: int, sampling: str = "center", backend: dict[str, Any] | None = None
    ) -> None:
        if num_frames < 1:
            raise ValueError(f"LoadVideo: num_frames must be at least 1, got {num_frames}.")
        if sampling not in SAMPLING_MODES:
            raise ValueError(
                f"LoadVideo: sampling must be one of {SAMPLING_MODES}, got {sampling!r}."
            )
        backend = {"type": "auto"} if backend is None else dict(backend)
        names = ("auto", *BACKENDS)
        if set(backend) != {"type"} or backend["type"] not in names:
            raise ValueError(
                f"LoadVideo: backend must be dict(type=...) with one of {names}, got {backend}."
            )
        self.num_frames = num_frames
        self.sampling = sampling
        self.backend = backend["type"]

    def transform(self, results: dict) -> dict:
        """Add ``frames`` and ``frame_indices``."""
        reader = open_media(results["media_path"], self.backend)
        indices = sample_frames(len(reader), self.num_frames, self.sampling)
        results["frames"] = reader.get_frames(indices.tolist())
        results["frame_indices"] = indices
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_frames={self.num_frames}, sampling={self.sampling!r}, "
            f"backend={self.backend!r})"
        )
