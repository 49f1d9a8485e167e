"""Retrieval models as sentence-transformers knows models: a bi-encoder and a cross-encoder.

Needs the package ``sentence-transformers``, from version 6 on. What is built on its models
(evaluators, pipelines that retrieve and re-rank, vector stores) takes ours. An input is a text, a
picture or a video:

- a string that ends as the path of a medium, such as ``'dog.mp4'``, is that medium, unless it has
  blanks in it and there is no such file; all other strings are texts;
- a :class:`pathlib.Path` is a medium; a folder is a video of the frames in it;
- Pillow's picture, an array (H, W, 3) or a tensor (3, H, W) is a picture; an array (N, H, W, 3), a
  tensor (N, 3, H, W) or a list of pictures is a video; ``bytes`` are the content of a file;
- ``{'text': ...}``, ``{'image': ...}`` and ``{'video': ...}`` say which of them it is, and
  ``{'array': frames, 'video_metadata': {'fps': 25}}`` how fast frames are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from uniadapter.datasets.media import STILL_EXTENSIONS, VIDEO_EXTENSIONS
from uniadapter.models.tasks import RetrievalModel
from uniadapter.retrieval import GalleryScorer, Ranker
from uniadapter.structures import MultimodalSample

from .encoding import check_one_adapter
from .inferencers.base import alike
from .inferencers.retrieval import ranking_of
from .inputs import InputReader

try:
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from sentence_transformers.base.modules import InputModule
except ImportError as error:
    raise ImportError(
        f"This needs sentence-transformers, from version 6 on ({error}): "
        "pip install 'sentence-transformers>=6'"
    ) from error

__all__ = ["MatchingCrossEncoder", "RetrievalSentenceTransformer"]

Kind = Literal["text", "image", "video"]


class Given(NamedTuple):
    """An input.

    Attributes:
        kind (str): ``'text'``, ``'image'`` or ``'video'``.
        value (Any): The text; or a medium, see :mod:`uniadapter.apis.inputs`.
        fps (float, optional): Frames a second, where they were given.
    """

    kind: Kind
    value: Any
    fps: float | None = None


def given(sample: Any) -> Given:
    """What an input is, see the head of this module.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(sample, Mapping):
        return _told(sample)
    if isinstance(sample, str | Path):
        text = isinstance(sample, str) and any(map(str.isspace, sample))
        ending = "" if text and not Path(sample).exists() else Path(sample).suffix.lower()
        if ending in VIDEO_EXTENSIONS or (isinstance(sample, Path) and sample.is_dir()):
            return Given("video", str(sample))
        if ending in STILL_EXTENSIONS or isinstance(sample, Path):
            return Given("image", str(sample))
        return Given("text", sample)
    if isinstance(sample, Image.Image):
        return Given("image", sample)
    if isinstance(sample, np.ndarray | Tensor):
        return Given("video" if sample.ndim == 4 else "image", sample)
    if isinstance(sample, list | tuple) and len(sample):
        return Given("video", list(sample))
    if isinstance(sample, bytes | bytearray | memoryview):
        return Given("video", sample)
    raise ValueError(
        f"An input is a text, a picture or a video, got {type(sample).__name__}: see "
        "uniadapter.apis.sentence_transformers."
    )


def _told(sample: Mapping[str, Any]) -> Given:
    """An input that says what it is."""
    if "array" in sample:
        meta = sample.get("video_metadata") or {}
        return Given("video", sample["array"], meta.get("fps"))
    kinds = set(sample)
    if len(kinds) != 1 or not kinds <= {"text", "image", "video"}:
        raise ValueError(
            f"An input has one of the keys 'text', 'image' and 'video', got {sorted(kinds)}: this "
            "model encodes one of them at a time."
        )
    [(kind, value)] = sample.items()
    if kind == "video" and isinstance(value, Mapping):
        return _told(value)
    return Given(kind, value)  # type: ignore[arg-type]


class _Module(InputModule):
    """A retrieval model with what reads its inputs.

    Args:
        model (RetrievalModel): A model that :func:`uniadapter.apis.init_model` built.
        **ranking: Options of :class:`uniadapter.retrieval.RetrievalOptions`; those left out are the
            config's ``test_cfg``.

    Raises:
        ValueError: If the model is of another task.
    """

    def __init__(self, model: nn.Module, **ranking: Any) -> None:
        super().__init__()
        if not isinstance(model, RetrievalModel):
            raise ValueError(
                f"sentence-transformers takes a retrieval model, got a {type(model).__name__}."
            )
        self.model = model
        self.reader = InputReader(model)
        self.options = ranking_of(model, ranking)

    @property
    def modalities(self) -> list[str]:
        """What it encodes."""
        return ["text", "image", "video"]

    @property
    def max_seq_length(self) -> int:
        """Tokens kept of a text."""
        return int(self.model.data_preprocessor.max_text_len)

    @property
    def tokenizer(self) -> Any:
        """The model's own tokenizer."""
        return self.model.data_preprocessor.tokenizer

    def ranker(self, **options: Any) -> Ranker:
        """What encodes and scores, with some options changed."""
        check_one_adapter(self.model)
        return Ranker(self.model, replace(self.options, **options))

    def texts(self, texts: Sequence[Given], prompt: str | None) -> list[str]:
        """Texts behind their prompt, cleaned."""
        cleaned: list[str] = self.reader.read_text([(prompt or "") + text.value for text in texts])
        return cleaned

    def batches(self, media: Sequence[Given], size: int) -> Iterator[dict[str, Any]]:
        """Batches of media as a data loader gives them."""
        padded = self.model.data_preprocessor.pad_frames is not None
        items = (self._item(medium, index) for index, medium in enumerate(media))
        for batch in alike(items, size, padded):
            yield {key: [item[key] for item in batch] for key in ("inputs", "data_samples")}

    def _item(self, medium: Given, index: int) -> dict[str, Any]:
        if medium.kind == "image":
            frames = self.reader.image_frames(medium.value)
        else:
            frames = self.reader.video_frames(medium.value, medium.fps)
        known = {"media_id": index, "media_path": f"input {index}", "texts": []}
        return {"inputs": frames, "data_samples": MultimodalSample(metainfo=known)}

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Not here: the files of these models are this project's own.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "Save the model inside, model[0].model: uniadapter.checkpoints.save_adapter writes its "
            "adapter, and init_model(config, folder) loads it."
        )


class _Embedding(_Module):
    """From texts, pictures and videos to the features that the test loop compares."""

    def get_embedding_dimension(self) -> int:
        """Width of the features."""
        return int(self.model.embed_dim)

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The inputs as they are; what they are is read where they are encoded."""
        return {"inputs": [given(sample) for sample in inputs], "prompt": prompt}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add ``sentence_embedding`` (B, E), of length 1."""
        found = features["inputs"]
        rows: list[Tensor | None] = [None] * len(found)
        of_texts = [row for row, sample in enumerate(found) if sample.kind == "text"]
        of_media = [row for row, sample in enumerate(found) if sample.kind != "text"]
        ranker = self.ranker(k_test=0)
        # What a model keeps from here must not be unfit for training.
        with torch.inference_mode(False), torch.no_grad():
            if of_texts:
                texts = self.texts([found[row] for row in of_texts], features.get("prompt"))
                _put(rows, of_texts, ranker.texts(texts).features)
            if of_media:
                media = self.batches([found[row] for row in of_media], len(of_media))
                _put(rows, of_media, ranker.media(media).media_features)
        device = next(self.model.parameters()).device
        embedding = torch.stack([row for row in rows if row is not None]).to(device)
        return {**features, "sentence_embedding": embedding}


def _put(rows: list[Tensor | None], places: Sequence[int], features: Tensor) -> None:
    for place, feature in zip(places, features, strict=True):
        rows[place] = feature


class RetrievalSentenceTransformer(SentenceTransformer):
    """A retrieval model that encodes texts, pictures and videos into one space.

    ``encode`` takes them alone or mixed, ``similarity`` is the cosine, which the test loop ranks by
    before it re-ranks. The model inside is ``self[0].model``.

    Args:
        model (RetrievalModel): A model that :func:`uniadapter.apis.init_model` built.
        device (str, optional): Where it runs. None: where it is.
        **options: Other arguments of sentence-transformers' class, such as ``prompts``.

    Raises:
        ValueError: If the model is of another task.
    """

    def __init__(self, model: nn.Module, device: str | None = None, **options: Any) -> None:
        where = device or str(next(model.parameters()).device)
        options.setdefault("similarity_fn_name", "cosine")
        super().__init__(modules=[_Embedding(model)], device=where, **options)


class _Matching(_Module):
    """From pairs of a text and a medium to the scores that the test loop re-ranks by."""

    def __init__(self, model: nn.Module, **ranking: Any) -> None:
        super().__init__(model, **ranking)
        # Raises where there is none.
        _ = self.model.matching

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The pairs as they are."""
        return {"pairs": list(inputs), "prompt": prompt}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add ``scores`` (P, 1)."""
        scores = self.score(features["pairs"], features.get("prompt"), len(features["pairs"]))
        return {**features, "scores": scores[:, None]}

    def score(self, pairs: Sequence[Any], prompt: str | None, batch_size: int) -> Tensor:
        """Scores (P,) of P pairs, on the CPU, each medium encoded once and scored at once.

        Args:
            pairs (Sequence): Pairs of a text and a medium, in either order.
            prompt (str, optional): What stands before every text.
            batch_size (int): Media encoded at once.

        Raises:
            MediaError: If a medium can't be read.
            ValueError: If a pair is no text and medium.
        """
        texts, media, chosen = _sorted(pairs)
        ranker = self.ranker(k_test=1)
        weight = self.options.itc_weight
        with torch.inference_mode(False), torch.no_grad():
            found = torch.empty(len(pairs))
            encoded = ranker.texts(self.texts(texts, prompt))
            scorer, first = None, 0
            for batch in self.batches(media, batch_size):
                gallery = ranker.media([batch]).against(encoded)
                if scorer is None:
                    rows = self.options.text_batch
                    scorer = GalleryScorer(self.model, gallery, ranker.autocast, rows)
                scorer = scorer.facing(gallery)
                for row in range(len(gallery.media)):
                    at = torch.tensor(chosen[first + row])
                    similar = encoded.features[at[:, 1]] @ gallery.media_features[row]
                    found[at[:, 0]] = scorer.score(row, at[:, 1]) + weight * similar
                first += len(gallery.media)
        return found


def _sorted(
    pairs: Sequence[Any],
) -> tuple[list[Given], list[Given], list[list[tuple[int, int]]]]:
    """Different texts and media of pairs, and for each medium the pairs' rows and their texts."""
    texts: dict[str, int] = {}
    media: dict[Any, int] = {}
    sources: list[Given] = []
    chosen: list[list[tuple[int, int]]] = []
    for row, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(f"Pair {row} is not a text and a medium, but {pair!r:.80}.")
        found = sorted(map(given, pair), key=lambda sample: sample.kind != "text")
        if [sample.kind == "text" for sample in found] != [True, False]:
            raise ValueError(
                f"Pair {row} is a {found[0].kind} and a {found[1].kind}: this model matches a text "
                "with a picture or a video."
            )
        text, medium = found
        key = _identity(medium)
        if key not in media:
            media[key] = len(media)
            sources.append(medium)
            chosen.append([])
        chosen[media[key]].append((row, texts.setdefault(text.value, len(texts))))
    return [Given("text", text) for text in texts], sources, chosen


def _identity(medium: Given) -> tuple:
    """What two media have alike that are the same, read in the same way.

    A string names the same medium each time; all else is the same where it is one object, and
    frames where each of them is.
    """
    value = medium.value
    parts = value if isinstance(value, list | tuple) else [value]
    same = [part if isinstance(part, str) else id(part) for part in parts]
    return (medium.kind, medium.fps, isinstance(value, list | tuple), *same)


class MatchingCrossEncoder(CrossEncoder):
    """The matcher of a retrieval model, which scores pairs of a text and a picture or video.

    Scores are those that the test loop re-ranks by: the matching logit plus ``itc_weight`` times
    the cosine. ``predict`` and ``rank`` encode each medium once, and score all its texts together.

    Args:
        model (RetrievalModel): A model that :func:`uniadapter.apis.init_model` built, with a
            matching head.
        device (str, optional): Where it runs. None: where it is.
        itc_weight (float, optional): None: that of the config's ``test_cfg``.
        activation_fn (Callable, optional): Applied to scores. None: nothing is.
        **options: Other arguments of sentence-transformers' class.

    Raises:
        ValueError: If the model is of another task or has no matching head.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | None = None,
        itc_weight: float | None = None,
        activation_fn: Callable | None = None,
        **options: Any,
    ) -> None:
        where = device or str(next(model.parameters()).device)
        ranking = {} if itc_weight is None else {"itc_weight": itc_weight}
        super().__init__(
            modules=[_Matching(model, **ranking)],
            device=where,
            activation_fn=activation_fn or nn.Identity(),
            **options,
        )

    def _inference(
        self,
        inputs: list,
        *,
        prompt: str | None,
        batch_size: int,
        activation_fn: Callable | None = None,
        device: Any = None,
        **kwargs: Any,
    ) -> Tensor:
        """All pairs at once, so that none of their media is encoded twice."""
        self._resolve_inference_device(device)
        self.eval()
        module: Any = self[0]
        if not inputs:
            return torch.tensor([])
        scores: Tensor = module.score(inputs, prompt, batch_size)
        return scores if activation_fn is None else activation_fn(scores)
