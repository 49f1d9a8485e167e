"""Decode, encode and write: one callable for one process, for torchrun and for Ray."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from uniadapter.datasets.feature_stores.writing import FeatureWriter
from uniadapter.datasets.media import MediaError
from uniadapter.datasets.transforms import AvBackend, VideoCenterCrop
from uniadapter.datasets.transforms.pictures import read_image
from uniadapter.datasets.transforms.spans import choose_frames
from uniadapter.datasets.transforms.video import resize_frames
from uniadapter.utils.processes import Died, map_in_processes

from .encoders import PictureEncoder
from .options import ExtractionOptions


def decode_picture(path: str, size: int) -> np.ndarray:
    """Read a picture as CLIP's network sees it, squared without keeping the aspect ratio.

    A truncated picture is read as far as it goes.

    Args:
        path: The file.
        size: Side in pixels.

    Returns:
        (1, size, size, 3) uint8.

    Raises:
        MediaError: When it can't be read.
    """
    return resize_frames(read_image(path, truncated=True)[None], (size, size))


def decode_video(path: str, size: int, period: float) -> np.ndarray:
    """Read a frame of every so many seconds of a video, its short side resized and the middle cut.

    The video is cut into stretches of equal length, as near to the period as goes; of each the
    frame is taken that is on screen in its middle. A video shorter than the period has two.

    Args:
        path: The file.
        size: Side in pixels.
        period: Seconds between frames.

    Returns:
        (N, size, size, 3) uint8.

    Raises:
        MediaError: When it can't be read, or its times don't ascend.
    """
    reader = AvBackend(path)
    spans = reader.spans()
    duration = float(spans[-1, 1] - spans[0, 0])
    rate = 1 / period if duration >= period or duration <= 0 else 2 / duration
    try:
        numbers = choose_frames(spans, rate)
    except ValueError as error:
        raise MediaError(path, f"{error}; encode the video anew") from error
    crop = VideoCenterCrop(size)
    frames = (crop.transform({"frames": f[None]})["frames"] for f in reader.walk(numbers.tolist()))
    return np.concatenate(list(frames))


def _decoded(path: str, options: ExtractionOptions) -> np.ndarray | str:
    """Pictures of a file, or why there are none."""
    try:
        if options.what == "grids":
            return decode_picture(path, options.size)
        return decode_video(path, options.size, options.period)
    except (MediaError, OSError) as error:
        return str(error)
    # Whatever one file does to its decoder, the others are to be extracted.
    except Exception as error:
        return f"{path}: {type(error).__name__}: {error}"


class ClipExtractor:
    """Extracts pieces of work, see :func:`~uniadapter.apis.extraction.options.make_units`.

    It is what torchrun's processes loop with, and an actor of Ray Data::

        ray.data.from_items([{"unit": unit} for unit in units]).map_batches(
            ClipExtractor, fn_constructor_args=(options,), batch_size=1, concurrency=8)

    Args:
        options: Of the extraction.

    Raises:
        FileNotFoundError: If the weights do not exist.
        ImportError: If a library is not installed.
        ValueError: If the weights are damaged or of another network.
    """

    def __init__(self, options: ExtractionOptions) -> None:
        self.options = options
        self.writer = FeatureWriter(options.out, options.kind)
        self.encoder = PictureEncoder(options)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Extract some pieces.

        Args:
            batch: ``unit``, the pieces as JSON.

        Returns:
            ``report`` of each as JSON: ``media``, how many it has, ``there``, how many of them were
            extracted before, and ``faults``, what is wrong with those that can't be read.
        """
        reports = [json.dumps(self.extract(json.loads(str(unit)))) for unit in batch["unit"]]
        return {"report": np.array(reports, dtype=object)}

    def extract(self, unit: dict[str, Any]) -> dict[str, Any]:
        """Extract one piece; see the class."""
        paths = dict(zip(unit["names"], unit["paths"], strict=True))
        left, lost = self.writer.left(unit["shard"], unit["names"])
        faults = [
            f"{paths[name]}: could not be read when {unit['shard']} was made" for name in lost
        ]
        report = {"media": len(paths), "there": len(paths) - len(left) - len(lost)}
        if not left:
            return {**report, "faults": faults}
        decoded = self._decode([paths[name] for name in left])
        faults += [result for result in decoded if isinstance(result, str)]
        good = {n: r for n, r in zip(left, decoded, strict=True) if not isinstance(r, str)}
        features = self._encode(good)
        for name in [n for n, array in features.items() if not np.isfinite(array).all()]:
            faults.append(f"{paths[name]}: its features are too large for half precision")
            del features[name]
        self.writer.write(unit["shard"], features)
        return {**report, "faults": faults}

    def _decode(self, paths: list[str]) -> list[np.ndarray | str]:
        """Pictures of files, or why there are none."""
        tasks = [(path, self.options) for path in paths]
        if not self.options.workers:
            return [_decoded(*task) for task in tasks]
        results = map_in_processes(_decoded, tasks, self.options.workers, None)
        return [
            f"{path}: {result.reason}" if isinstance(result, Died) else result
            for path, result in zip(paths, results, strict=True)
        ]

    def _encode(self, pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Features (N, D) of each: the cells of a picture, or the frames of a video."""
        if not pictures:
            return {}
        encoded = self.encoder(np.concatenate(list(pictures.values())))
        ends = np.cumsum([len(one) for one in pictures.values()])[:-1]
        parts = np.split(encoded, ends)
        # (1, cells, D) of a picture, (frames, 1, D) of a video.
        return {
            name: np.ascontiguousarray(part.reshape(-1, part.shape[-1]))
            for name, part in zip(pictures, parts, strict=True)
        }
