"""Pictures, videos and texts from anywhere, prepared as the test of a config prepares its data.

What a picture or a video may be:

=====================  ==========================================================================
a path                 ``str`` or ``Path``: a file; for a video also a folder of frames
bytes                  the content of a file: ``bytes``, ``bytearray``, ``memoryview``
a file object          opened with ``'rb'``; it is read from where it stands to its end
Pillow's picture       of any mode, with or without a note of its orientation
a numpy array          uint8, **channels last**, RGB: a picture (H, W, 3), a video (N, H, W, 3);
                       a picture may also be grey, (H, W), or have transparency, (H, W, 4)
a tensor               uint8, **channels first**, RGB: a picture (3, H, W), a video (N, 3, H, W)
a list                 many of these, of which a list is made. A video in it may be a list itself:
                       of its frames, each a picture
=====================  ==========================================================================

An array or tensor of one more dimension is many pictures or many videos. Addresses are not
fetched: whoever has one knows better how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from uniadapter.datasets.transforms import (
    ArrayBackend,
    LoadSeconds,
    LoadVideo,
    PackInputs,
    VideoBackend,
    VideoResize,
)
from uniadapter.registry import TRANSFORMS
from uniadapter.utils.config import load_config

from .media_input import (
    Medium,
    array_of,
    colours,
    content_of,
    local_path,
    name_of,
    parts_of,
    pixels_of,
    read_as_file,
    same_size,
)

__all__ = ["InputReader", "read_image", "read_text", "read_video"]

_LOADERS = (LoadVideo, LoadSeconds)


class InputReader:
    """The test transforms of a config, applied to what comes from outside of a data set.

    Args:
        config: A config or its file, or a model that :func:`uniadapter.apis.init_model` built.

    Attributes:
        transforms: The test transforms of pictures and videos, in their order.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the config tests on no pictures or videos.
    """

    def __init__(self, config: Any) -> None:
        cfg = config_of(config)
        self._name = cfg.filename or "the config"
        self.transforms: list[Callable] = _test_transforms(cfg)
        if not any(isinstance(step, _LOADERS) for step in self.transforms):
            self.transforms = [*_still_transforms(cfg, self._name), *self.transforms]
        # What changes texts alone may need one.
        self._texts = [step for step in self.transforms if getattr(step, "of_text", False)]
        self._media = [step for step in self.transforms if not getattr(step, "of_text", False)]

    @property
    def num_frames(self) -> int | None:
        """Frames taken of a medium, 1 where the test is on pictures; None where that varies."""
        loader = self._loader
        return loader.num_frames if isinstance(loader, LoadVideo) else None

    @property
    def max_frames(self) -> int:
        """Most frames that are taken of a medium."""
        loader = self._loader
        return loader.num_frames if isinstance(loader, LoadVideo) else loader.max_frames

    @property
    def only_pictures(self) -> bool:
        """Whether a video of several frames is refused."""
        return self._loader.backend == "image"

    @property
    def _loader(self) -> LoadVideo | LoadSeconds:
        return next(step for step in self.transforms if isinstance(step, _LOADERS))

    def read_image(self, image: Medium) -> Any:
        """Prepare a picture, or many.

        Args:
            image: See the head of the module.

        Returns:
            Tensor | list: (N, 3, H, W) uint8, what the data preprocessor takes: a video whose N
            frames are this picture, N being that of the config's test (1 where it tests on
            pictures). A list of them for many pictures.

        Raises:
            MediaError: If it can't be read.
            ValueError: If it is none of the kinds above.
        """
        many = parts_of(image, 3)
        if many is not None:
            return [self.image_frames(part) for part in many]
        return self.image_frames(image)

    def read_video(self, video: Medium, fps: float | None = None) -> Any:
        """Prepare a video, or many.

        Args:
            video: See the head of the module. A picture is a video of one frame.
            fps: Frames a second of arrays, tensors and lists of frames, which a config that takes
                a frame a second needs (``LoadSeconds``). Files say it themselves.

        Returns:
            Tensor | list: (N, 3, H, W) uint8, what the data preprocessor takes, N and which frames
            as the config's test has them. A list of them for many videos.

        Raises:
            MediaError: If it can't be read.
            ValueError: If it is none of the kinds above.
        """
        many = parts_of(video, 4)
        if many is not None:
            return [self.video_frames(part, fps) for part in many]
        return self.video_frames(video, fps)

    def read_text(self, text: str | Sequence[str]) -> Any:
        """Clean a text, or a list of texts, as the config's test does.

        Raises:
            ValueError: If a text is none, or blank.
        """
        if isinstance(text, str):
            if not text.strip():
                raise ValueError("A text is blank, which says nothing about any medium.")
            results: dict[str, Any] = {"text": text}
            for step in self._texts:
                results = step(results)
            return results["text"]
        if not isinstance(text, Sequence) or isinstance(text, (bytes, bytearray)):
            raise ValueError(f"A text or a list of texts is expected, got {type(text).__name__}.")
        return [self.read_text(part) for part in text]

    def image_frames(self, image: Medium) -> Tensor:
        """One picture, as :meth:`read_image`; many are an error."""
        if parts_of(image, 3) is not None:
            raise ValueError(f"{name_of(image)}: one picture is expected here, not many.")
        reader = ArrayBackend(pixels_of(image)[None], name_of(image))
        return self._run(reader, reader.path)

    def frames_of(self, reader: VideoBackend) -> Tensor:
        """Prepare a medium that is open, or the part of it that a reader shows.

        Returns:
            (N, 3, H, W) uint8, as :meth:`read_video`.
        """
        return self._run(reader, reader.path)

    def video_frames(self, video: Medium, fps: float | None = None) -> Tensor:
        """One video, as :meth:`read_video`; a list are its frames."""
        if isinstance(video, (str, Path)):
            return self._run(None, local_path(video))
        content = content_of(video)
        if content is not None:
            # Readers of videos go to and fro in a file; a reader of one kind has one truth.
            return read_as_file(content, name_of(video), lambda path: self._run(None, path))
        if isinstance(video, (list, tuple)):
            frames = same_size([pixels_of(frame) for frame in video])
        else:
            array = array_of(video)
            if array is None or array.ndim < 4:
                frames = pixels_of(video)[None]
            else:
                frames = colours(array, name_of(video))
        reader = ArrayBackend(frames, name_of(video), fps)
        return self._run(reader, reader.path)

    def _run(self, reader: VideoBackend | None, name: str) -> Tensor:
        """Apply the transforms to a medium that is open, or to the one of this path."""
        results: dict[str, Any] = {"media_path": name}
        for step in self._media:
            if not isinstance(step, _LOADERS):
                results = step(results)
                continue
            if reader is not None and step.backend == "image" and len(reader) > 1:
                raise ValueError(
                    f"{name}: {self._name} tests on pictures, and this is a video of "
                    f"{len(reader)} frames; give the frame that is to be looked at."
                )
            results = step(results) if reader is None else step.load(reader, results)
            height, width = results["frames"].shape[1:3]
            # Without annotation, what is looked for may be anywhere.
            results["box"] = [0.0, 0.0, float(width), float(height)]
        if not isinstance(results.get("inputs"), Tensor):
            raise ValueError(f"{self._name}: its test transforms end without PackInputs.")
        return results["inputs"]


def read_image(image: Medium, config: Any) -> Any:
    """Prepare a picture, or many, as the test of a config does; see :class:`InputReader`.

    Args:
        image: A path, bytes, a file object, Pillow's picture, an array (H, W, 3), a tensor
            (3, H, W), or a list of these.
        config: A config or its file, a model, or an :class:`InputReader`.
    """
    return reader_of(config).read_image(image)


def read_video(video: Medium, config: Any, fps: float | None = None) -> Any:
    """Prepare a video, or many, as the test of a config does; see :class:`InputReader`.

    Args:
        video: A path, bytes, a file object, an array (N, H, W, 3), a tensor (N, 3, H, W), or a
            list of these.
        config: A config or its file, a model, or an :class:`InputReader`.
        fps: Frames a second of arrays and tensors.
    """
    return reader_of(config).read_video(video, fps)


def read_text(text: str | Sequence[str], config: Any) -> Any:
    """Clean a text, or many, as the test of a config does; see :class:`InputReader`.

    Args:
        text: A text or a list of texts.
        config: A config or its file, a model, or an :class:`InputReader`.
    """
    return reader_of(config).read_text(text)


def reader_of(config: Any) -> InputReader:
    """The reader of a config, its file or a model; a reader is its own."""
    return config if isinstance(config, InputReader) else InputReader(config)


def config_of(source: Any) -> Config:
    """The config that is, or belongs to, a config, its file or a model.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a model has no config.
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, (str, Path)):
        return load_config(source)
    cfg = getattr(source, "cfg", None)
    if not isinstance(cfg, Config):
        raise ValueError(
            f"{type(source).__name__} has no config: build the model with init_model or get_model, "
            "or give the config itself."
        )
    return cfg


def _test_transforms(cfg: Config) -> list[Callable]:
    """The transforms of pictures that a config is tested with."""
    for key in ("test_dataloader", "val_dataloader"):
        loaders = cfg.get(key) or {}
        for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
            for pipeline in _pipelines(loader.get("dataset")):
                steps = [TRANSFORMS.build(s) if isinstance(s, Mapping) else s for s in pipeline]
                if any(isinstance(step, PackInputs) for step in steps):
                    return steps
    raise ValueError(
        f"{cfg.filename or 'The config'} has no test_dataloader or val_dataloader whose pipeline "
        "packs pictures (PackInputs), so nothing says how pictures are prepared."
    )


def _pipelines(node: Any) -> list[Sequence]:
    """All pipelines of the config of a data set, which may wrap others."""
    if isinstance(node, Mapping):
        if isinstance(node.get("pipeline"), (list, tuple)):
            return [node["pipeline"]]
        return [found for value in node.values() for found in _pipelines(value)]
    if isinstance(node, (list, tuple)):
        return [found for value in node for found in _pipelines(value)]
    return []


def _still_transforms(cfg: Config, name: str) -> list[Callable]:
    """What stands in front of a pipeline whose data set gives pictures of one size itself."""
    size = (cfg.get("model") or {}).get("visual", {}).get("img_size")
    if size is None:
        raise ValueError(
            f"{name}: its test data come decoded, and model.visual has no img_size to bring others "
            "to."
        )
    return [LoadVideo(num_frames=1, backend={"type": "image"}), VideoResize(size)]
