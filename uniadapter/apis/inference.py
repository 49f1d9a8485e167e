"""One call from a model's name and an input to a plain result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from uniadapter.models.tasks import RetrievalModel

from .encoding import encode_image, encode_text, encode_video
from .inferencers import CaptionInferencer, VisualQuestionAnsweringInferencer
from .inputs import InputReader
from .media_input import Medium, parts_of
from .zoo import get_model

__all__ = ["inference_model"]


def inference_model(
    model: str | Path | Config | nn.Module,
    media: Medium,
    texts: str | Sequence[str] | None = None,
    pretrained: bool | str | Path = True,
    device: str | torch.device | None = None,
    download: bool = False,
    **kwargs: Any,
) -> Any:
    """Run a model on pictures or videos.

    The inferencers of :mod:`uniadapter.apis.inferencers` do the same on many inputs, faster, and
    rank what a prototype holds.

    Args:
        model (str | Path | Config | nn.Module): See :func:`uniadapter.apis.get_model`; or a model
            that is built already, as it is.
        media (Any): A picture or video or a list of them, see :mod:`uniadapter.apis.inputs`.
        texts (str | Sequence[str], optional): The question or questions of a model that answers;
            the texts that a retrieval model compares media with; None for one that writes captions.
        pretrained (bool | str | Path): See :func:`uniadapter.apis.get_model`. Defaults to True.
        device (str | torch.device, optional): Where a model that is built here goes.
        download (bool): Fetch weights that are not here. Defaults to False.
        **kwargs: Arguments of a call of the inferencer, such as ``show_dir``; a retrieval model
            takes ``batch_size`` alone.

    Returns:
        dict | list[dict]: The result of one input; a list of them for a list of media or, of a
        model that answers, of questions. Keys: ``question`` and ``pred_answer``; ``pred_caption``;
        or, of retrieval, ``similarity`` (a cosine for each text), ``pred_text`` (the nearest) and
        ``pred_score`` (its cosine).

    Raises:
        MediaError: If a medium can't be read.
        ValueError: If the model is of another task, or texts are missing or one too many.
    """
    if not isinstance(model, nn.Module):
        model = get_model(model, pretrained, device, download)
    if isinstance(model, RetrievalModel):
        return _compared(model, media, texts, **kwargs)
    pictures = InputReader(model).num_frames == 1
    single = parts_of(media, 3 if pictures else 4) is None
    if VisualQuestionAnsweringInferencer.runs(model):
        if texts is None:
            raise ValueError(f"A {type(model).__name__} answers questions: give one.")
        answers = VisualQuestionAnsweringInferencer(model, show_progress=False)
        results = answers(media, texts, **kwargs)
        return results[0] if single and isinstance(texts, str) else results
    if not CaptionInferencer.runs(model):
        raise ValueError(
            f"inference_model runs models that rank, answer or write captions, not a "
            f"{type(model).__name__}: call model.test_step with a batch of its data."
        )
    if texts is not None:
        raise ValueError(f"A {type(model).__name__} writes texts and takes none.")
    results = CaptionInferencer(model, show_progress=False)(media, **kwargs)
    return results[0] if single else results


def _compared(
    model: RetrievalModel,
    media: Medium,
    texts: str | Sequence[str] | None,
    batch_size: int = 8,
) -> Any:
    """How near media are to texts."""
    candidates = [texts] if isinstance(texts, str) else list(texts or ())
    if not candidates:
        raise ValueError(f"A {type(model).__name__} compares media with texts: give some.")
    pictures = InputReader(model).num_frames == 1
    single = parts_of(media, 3 if pictures else 4) is None
    encode = encode_image if pictures else encode_video
    found = encode(model, [media] if single else media, batch_size=batch_size)
    rows = (found @ encode_text(model, candidates).T).tolist()
    results = [
        {"similarity": row, "pred_text": candidates[row.index(max(row))], "pred_score": max(row)}
        for row in rows
    ]
    return results[0] if single else results
