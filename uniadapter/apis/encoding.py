"""Embeddings of media and texts from anywhere, and what prepares both for a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from uniadapter.retrieval.texts import encode_parts, kept
from uniadapter.structures import MultimodalSample
from uniadapter.utils.modes import evaluating

from .inputs import InputReader
from .media_input import Medium, parts_of

__all__ = ["Preprocess", "Tokenize", "encode_image", "encode_text", "encode_video"]


class Words(NamedTuple):
    """Texts as a model takes them.

    Attributes:
        input_ids: (T, L) long.
        attention_mask: (T, L) long, 0 where a token is padding.
    """

    input_ids: Tensor
    attention_mask: Tensor


class _Prepares:
    """What prepares inputs of a model by its config's test.

    Args:
        model: A model of :func:`uniadapter.apis.get_model` or :func:`uniadapter.apis.init_model`.

    Raises:
        ValueError: If its config tests on no pictures or videos.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.reader = InputReader(model)


class Preprocess(_Prepares):
    """From media to the pixels of a model: its config's test transforms, then the normalisation."""

    def __call__(self, media: Medium) -> Tensor:
        """Prepare pictures or videos.

        Args:
            media: One or a list, see :mod:`uniadapter.apis.inputs`. An array or tensor of four
                dimensions is a video, but many pictures where the config tests on pictures.

        Returns:
            (B, N, 3, H, W) float on the model's device, B = 1 of one medium.
        """
        pictures = self.reader.num_frames == 1
        read = self.reader.image_frames if pictures else self.reader.video_frames
        parts = _listed(media, parts_of(media, 3 if pictures else 4))
        pixels: Tensor = self.batch([read(part) for part in parts])["pixels"]
        return pixels

    def batch(self, frames: Sequence[Tensor]) -> dict[str, Any]:
        """What the model takes of media that were read.

        Args:
            frames: For each of B media (N, 3, H, W) uint8.

        Returns:
            ``pixels`` (B, N, 3, H, W) and, where frames are padded, ``frame_mask`` (B, N).
        """
        facts = ({"media_id": i, "media_path": f"medium {i}"} for i in range(len(frames)))
        samples = [MultimodalSample(metainfo={**fact, "texts": []}) for fact in facts]
        data = {"inputs": list(frames), "data_samples": samples}
        batch = self.model.data_preprocessor(data, False)
        return {name: batch[name] for name in ("pixels", "frame_mask") if name in batch}


class Tokenize(_Prepares):
    """From texts to the word ids of a model: cleaned as its config's test does, and cut."""

    def __call__(self, texts: str | Sequence[str]) -> Words:
        """Ids and mask of a text or of T texts, on the model's device.

        Raises:
            ValueError: If a text is none, or blank.
        """
        listed = [texts] if isinstance(texts, str) else texts
        ids, mask = self.model.data_preprocessor.tokenize(self.reader.read_text(listed))
        device = _device(self.model)
        return Words(ids.to(device), mask.to(device))


def encode_image(
    model: nn.Module, images: Medium, normalize: bool = True, batch_size: int = 32
) -> Tensor:
    """Embeddings of pictures, as the model's retrieval test computes them.

    Args:
        model: A retrieval model of :func:`uniadapter.apis.get_model` or
            :func:`uniadapter.apis.init_model`.
        images: A picture or a list of them, see :mod:`uniadapter.apis.inputs`.
        normalize: Bring the embeddings to length 1, so that products are cosine similarities.
            Without, they are as long as the projection makes them.
        batch_size: Pictures encoded at once.

    Returns:
        (B, E) float32 on the CPU; (E,) of a picture that is no list.

    Raises:
        MediaError: If a picture can't be read.
        ValueError: If the model has no embeddings, or something is no picture.
    """
    preprocess = Preprocess(_retrieval(model))
    read = preprocess.reader.image_frames
    return _encode_media(preprocess, images, parts_of(images, 3), read, normalize, batch_size)


def encode_video(
    model: nn.Module,
    videos: Medium,
    normalize: bool = True,
    batch_size: int = 8,
    fps: float | None = None,
) -> Tensor:
    """Embeddings of videos, as the model's retrieval test computes them.

    Args:
        model: See :func:`encode_image`.
        videos: A video or a list of them, see :mod:`uniadapter.apis.inputs`.
        normalize: See :func:`encode_image`.
        batch_size: Videos encoded at once.
        fps: Frames a second of arrays and tensors, where the config takes a frame a second.

    Returns:
        (B, E) float32 on the CPU; (E,) of a video that is no list.

    Raises:
        MediaError: If a video can't be read.
        ValueError: If the model has no embeddings, or something is no video.
    """
    preprocess = Preprocess(_retrieval(model))
    read = partial(preprocess.reader.video_frames, fps=fps)
    return _encode_media(preprocess, videos, parts_of(videos, 4), read, normalize, batch_size)


def encode_text(
    model: nn.Module, texts: str | Sequence[str], normalize: bool = True, batch_size: int = 256
) -> Tensor:
    """Embeddings of texts, as the model's retrieval test computes them.

    Args:
        model: See :func:`encode_image`.
        texts: A text or a list of them; they are cleaned as the config's test cleans captions.
        normalize: See :func:`encode_image`.
        batch_size: Texts encoded at once.

    Returns:
        (T, E) float32 on the CPU; (E,) of a text that is no list.

    Raises:
        ValueError: If the model has no embeddings, or something is no text.
    """
    _check_batch(batch_size)
    retrieval = _retrieval(model)
    listed = [texts] if isinstance(texts, str) else texts
    words = Tokenize(retrieval)(listed)
    if not len(words.input_ids):
        return torch.empty(0, retrieval.embed_dim)
    with _computing(retrieval, "text", normalize):
        parts = [kept(part["feature"]) for part in encode_parts(retrieval, *words, batch_size)]
    features = torch.cat(parts)
    return features[0] if isinstance(texts, str) else features


def _encode_media(
    preprocess: Preprocess,
    media: Medium,
    parts: list[Any] | None,
    read: Callable[[Medium], Tensor],
    normalize: bool,
    batch_size: int,
) -> Tensor:
    """Embeddings of media, read and encoded some at a time."""
    _check_batch(batch_size)
    model, listed = preprocess.model, _listed(media, parts)
    if not listed:
        return torch.empty(0, model.embed_dim)
    found = []
    with _computing(model, "visual", normalize):
        for start in range(0, len(listed), batch_size):
            batch = preprocess.batch([read(part) for part in listed[start : start + batch_size]])
            found.append(kept(model.encode_visual(**batch)[1]))
    features = torch.cat(found)
    return features[0] if parts is None else features


def _listed(media: Medium, parts: list[Any] | None) -> list[Any]:
    return [media] if parts is None else parts


def _check_batch(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size is the number encoded at once, got {batch_size}.")


def _retrieval(model: nn.Module) -> Any:
    """The model, which must have embeddings."""
    if not hasattr(model, "embeddings_as_they_are"):
        raise ValueError(
            f"A {type(model).__name__} has no embeddings of media and texts: take a retrieval "
            "model, such as list_models(task='retrieval') names."
        )
    check_one_adapter(model)
    return model


def check_one_adapter(model: Any) -> None:
    """Refuse adapters by row, which embeddings do not heed.

    Raises:
        ValueError: If ``model.active`` names several.
    """
    if not isinstance(model.active, str):
        raise ValueError(
            f"model.active={model.active} is of the rows of a batch; embeddings are of "
            "one adapter: set model.active to its name."
        )


@contextmanager
def _computing(model: Any, role: str, normalize: bool) -> Iterator[None]:
    """As the test computes: no dropout, no graph, the frozen weights' own precision."""
    own: AbstractContextManager = nullcontext() if normalize else model.embeddings_as_they_are(role)
    with torch.no_grad(), evaluating(model), model.frozen_autocast(), own:
        yield


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
