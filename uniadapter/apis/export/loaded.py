"""An exported folder, opened: media and texts from anywhere, features and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from uniadapter.checkpoints.plain_config import change_files
from uniadapter.models import MultimodalDataPreprocessor
from uniadapter.registry import MODELS

from ..encoding import Preprocess
from ..inputs import InputReader
from ..media_input import Medium, parts_of
from .facts import FACTS_NAME, ExportFacts, of_facts, read_facts
from .programs import open_program
from .scoring import Programs


def is_exported(path: str | Path) -> bool:
    """Whether a path is a folder that :func:`export_model` wrote."""
    return (Path(path) / FACTS_NAME).is_file()


def load_exported(folder: str | Path, device: str | torch.device = "cpu") -> ExportedModel:
    """Open a folder that :func:`export_model` wrote; the towers are not built.

    A folder of ONNX files runs no code of its own. A ``.pt2`` is a program: open those of people
    whom you trust.

    Args:
        folder: The folder.
        device: Where its files run.

    Raises:
        FileNotFoundError: If the folder or a file is missing.
        ImportError: If onnxruntime is needed and not installed.
        ValueError: If a file is damaged or a newer version wrote it.
    """
    return ExportedModel(Path(folder), device)


class ExportedModel:
    """The files of a retrieval model, and what prepares their inputs.

    Args:
        folder: The folder.
        device: Where its files run.

    Attributes:
        folder: The folder.
        facts: What the folder says of itself.
        cfg: A config with the transforms of the test.
        data_preprocessor: What normalises frames and makes words of texts.
        programs: The parts.
        reader: Prepares media and cleans texts.
    """

    def __init__(self, folder: Path, device: str | torch.device = "cpu") -> None:
        self.folder = folder
        self.facts: ExportFacts = read_facts(folder)
        config = change_files(
            dict(self.facts.data_preprocessor),
            "data_preprocessor",
            lambda key, name: str(_inside(folder, self.facts, key, name)),
        )
        with of_facts(folder, "data_preprocessor"):
            self.data_preprocessor: MultimodalDataPreprocessor = MODELS.build(config)
        self.cfg = Config(
            {
                "model": {"visual": {"img_size": self.facts.image_size[0]}},
                "test_dataloader": {"dataset": {"pipeline": self.facts.pipeline}},
            }
        )
        self.programs = Programs(
            {name: open_program(folder, self.facts, name, device) for name in self.facts.parts}
        )
        with of_facts(folder, "pipeline"):
            self._preprocess = Preprocess(self)

    @property
    def reader(self) -> InputReader:
        """Prepares media and cleans texts, as the test does."""
        return self._preprocess.reader

    def batch(self, frames: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the visual part takes of B media that were read: each (N, 3, H, W) uint8.

        Raises:
            ValueError: If they are not of the size that it takes.
        """
        made = self._preprocess.batch(frames)
        size = list(made["pixels"].shape[-2:])
        if size != self.facts.image_size:
            raise ValueError(
                f"{self.folder / FACTS_NAME}: frames are {size} pixels behind the pipeline, and "
                f"image_size is {self.facts.image_size}: export or copy it again."
            )
        return made

    def words(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """What the text part takes of texts: they are cleaned, and cut.

        Raises:
            ValueError: If one is none, or blank.
        """
        ids, mask = self.data_preprocessor.tokenize(self.reader.read_text(list(texts)))
        return {"input_ids": ids, "attention_mask": mask}

    def encode_image(self, images: Medium, batch_size: int = 8) -> Tensor:
        """Embeddings of pictures, (B, E); (E,) of one. See :func:`uniadapter.apis.encode_image`."""
        parts = parts_of(images, 3)
        return self._features(images, parts, self.reader.image_frames, batch_size)

    def encode_video(self, videos: Medium, batch_size: int = 8) -> Tensor:
        """Embeddings of videos, (B, E); (E,) of one. See :func:`uniadapter.apis.encode_video`."""
        parts = parts_of(videos, 4)
        return self._features(videos, parts, self.reader.video_frames, batch_size)

    def encode_text(self, texts: str | Sequence[str], batch_size: int = 256) -> Tensor:
        """Embeddings of texts, (T, E); (E,) of one. See :func:`uniadapter.apis.encode_text`."""
        listed = [texts] if isinstance(texts, str) else list(texts)
        found = [torch.empty(0, self.facts.feature_size)]
        for start in range(0, len(listed), batch_size):
            words = self.words(listed[start : start + batch_size])
            found.append(self.programs.text(**words)["features"])
        features = torch.cat(found)
        return features[0] if isinstance(texts, str) else features

    def match(
        self, media: Sequence[Medium], texts: Sequence[str], pictures: bool = False
    ) -> Tensor:
        """Logits (B, T) that media and texts belong together.

        Args:
            media: B videos, see :mod:`uniadapter.apis.inputs`.
            texts: T texts.
            pictures: The media are pictures.

        Raises:
            ValueError: If the model has no matching head.
        """
        if not self.facts.matches:
            raise ValueError("The exported model has no matching head: compare features.")
        read = self.reader.image_frames if pictures else self.reader.video_frames
        words = self.words(texts)
        encoded = self.programs.text(**words)
        rows = []
        for medium in media:
            seen = self.programs.visual(**self.batch([read(medium)]))
            rows.append(self.programs.match(seen, {**encoded, **words}))
        return torch.cat([torch.empty(0, len(texts)), *rows])

    def _features(
        self,
        media: Medium,
        parts: list[Any] | None,
        read: Callable[[Medium], Tensor],
        batch_size: int,
    ) -> Tensor:
        listed = [media] if parts is None else parts
        found = [torch.empty(0, self.facts.feature_size)]
        for start in range(0, len(listed), batch_size):
            frames = [read(medium) for medium in listed[start : start + batch_size]]
            found.append(self.programs.visual(**self.batch(frames))["features"])
        features = torch.cat(found)
        return features[0] if parts is None else features


def _inside(folder: Path, facts: ExportFacts, key: str, name: str) -> Path:
    """A file of the folder that its JSON names.

    Raises:
        ValueError: If it is none.
    """
    if name not in facts.files:
        raise ValueError(f"{folder / FACTS_NAME}: {key}={name!r:.80} is no file of the folder.")
    return folder / name
