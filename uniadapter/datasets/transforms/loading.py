"""From a path to frames."""

from __future__ import annotations

from typing import Any

from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS
from ..media import MediaError
from .backends import BACKENDS, open_media
from .base_backend import VideoBackend
from .sampling import SAMPLING_MODES, sample_frames, sample_seconds


def _backend_name(owner: str, backend: dict[str, Any] | None) -> str:
    backend = {"type": "auto"} if backend is None else dict(backend)
    names = ("auto", *BACKENDS)
    if set(backend) != {"type"} or backend["type"] not in names:
        raise ValueError(
            f"{owner}: backend must be dict(type=...) with one of {names}, got {backend}."
        )
    return str(backend["type"])


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
        self.num_frames = num_frames
        self.sampling = sampling
        self.backend = _backend_name("LoadVideo", backend)

    def transform(self, results: dict) -> dict:
        """Add ``frames`` and ``frame_indices``."""
        return self.load(open_media(results["media_path"], self.backend), results)

    def load(self, reader: VideoBackend, results: dict) -> dict:
        """As :meth:`transform`, from a medium that is open already."""
        indices = sample_frames(len(reader), self.num_frames, self.sampling)
        results["frames"] = reader.get_frames(indices.tolist())
        results["frame_indices"] = indices
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_frames={self.num_frames}, sampling={self.sampling!r}, "
            f"backend={self.backend!r})"
        )


@TRANSFORMS.register_module()
class LoadSeconds(BaseTransform):
    """Decode one frame a second, at most so many, as CLIP4Clip; see :func:`sample_seconds`.

    Required key: ``media_path``. Added keys: ``frames``, (N, H, W, 3) uint8 RGB, N from 1 to
    ``max_frames``, and ``frame_indices``, their numbers. ``data_preprocessor.pad_frames`` brings
    media of fewer frames to one length. A picture is a video of one frame.

    Args:
        max_frames: Most frames of a medium.
        rate: Frames a second of media that don't say it themselves, such as folders of frames.
        backend: As for :class:`LoadVideo`.

    Raises:
        ValueError: For an option outside its set.
        MediaError: In use, when the medium can't be read, or nothing says its rate.
    """

    def __init__(
        self,
        max_frames: int = 12,
        rate: float | None = None,
        backend: dict[str, Any] | None = None,
    ) -> None:
        if max_frames < 1:
            raise ValueError(f"LoadSeconds: max_frames must be at least 1, got {max_frames}.")
        if rate is not None and not rate > 0:
            raise ValueError(f"LoadSeconds: rate must be above 0, got {rate}.")
        self.max_frames, self.rate = max_frames, rate
        self.backend = _backend_name("LoadSeconds", backend)

    def transform(self, results: dict) -> dict:
        """Add ``frames`` and ``frame_indices``."""
        return self.load(open_media(results["media_path"], self.backend), results)

    def load(self, reader: VideoBackend, results: dict) -> dict:
        """As :meth:`transform`, from a medium that is open already."""
        rate = 1.0 if len(reader) == 1 else reader.rate or self.rate
        if rate is None:
            raise MediaError(
                reader.path,
                "says nothing of its frames a second: set LoadSeconds.rate, such as the --fps that "
                "frames were extracted with",
            )
        indices = sample_seconds(len(reader), rate, self.max_frames)
        results["frames"] = reader.get_frames(indices.tolist())
        results["frame_indices"] = indices
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(max_frames={self.max_frames}, rate={self.rate}, "
            f"backend={self.backend!r})"
        )
