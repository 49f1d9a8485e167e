"""From pictures of uneven sizes and expressions about them to a grounding model's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..registry import MODELS
from ..structures import MultimodalSample
from ..utils.boxes import to_centers
from .data_preprocessor import MultimodalDataPreprocessor
from .roberta_tokenizer import RobertaTokenizer

#: ImageNet's channel statistics, in units of 0..255.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@MODELS.register_module()
class GroundingDataPreprocessor(MultimodalDataPreprocessor):
    """Normalise pictures, pad them to the largest sides of the batch, tokenize expressions.

    Args:
        mean: Mean of the three channels, in units of 0..255.
        std: Standard deviation of the three channels, in units of 0..255.
        tokenizer: Config of a tokenizer that knows where its tokens stand; without a ``type`` a
            :class:`RobertaTokenizer`, whose ``file`` is then needed.
        max_text_len: Tokens kept of an expression, the marks at its ends included. What names the
            thing has to be among them in training.
        map_size: Positions that a query of the model may stand for, of which the last is
            "nothing"; that of ``model.head``.
        non_blocking: Copy to the device without waiting.

    Raises:
        ValueError: For an option outside its set.
    """

    tokenizer: RobertaTokenizer

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        tokenizer: dict[str, Any] | None = None,
        max_text_len: int = 256,
        map_size: int = 256,
        non_blocking: bool = False,
    ) -> None:
        words = {"type": "RobertaTokenizer", **(tokenizer or {})}
        super().__init__(mean, std, words, max_text_len, non_blocking=non_blocking)
        if not hasattr(self.tokenizer, "places"):
            raise ValueError(
                f"GroundingDataPreprocessor: {words['type']} does not say where its tokens stand: "
                "take a RobertaTokenizer."
            )
        self.map_size = map_size

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Prepare one batch.

        Args:
            data: ``inputs``, a list of (1, 3, H, W) uint8 tensors, or None for a picture that was
                skipped; ``data_samples``, as many :class:`MultimodalSample` with ``text`` and, in
                training, ``box`` (corners in pixels) and ``tokens_positive``.
            training: Whether targets are made.

        Returns:
            Keyword arguments of ``model.forward``, of B pictures that were read: ``pixels``
            (B, 3, H, W) float, 0 at padding, ``pixel_mask`` (B, H, W) bool, ``input_ids`` and
            ``attention_mask`` (B, L) long; in training ``boxes`` (B, 4), centre and size as shares
            of the own picture, and ``positive`` (B, map_size) bool; and ``data_samples``.

        Raises:
            ValueError: When a sample has several frames, or none of the tokens that name its thing
                is kept.
        """
        samples: list[MultimodalSample] = list(data["data_samples"])
        kept = [pair for pair in zip(data["inputs"], samples, strict=True) if pair[0] is not None]
        for frames, sample in kept:
            if len(frames) != 1:
                raise ValueError(f"{sample.media_path}: {len(frames)} frames, grounding takes one.")
        texts = [sample.text for _, sample in kept]
        input_ids, attention_mask = self.tokenizer(texts, self.max_text_len)
        batch: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if training:
            batch["boxes"] = self._boxes(kept)
            batch["positive"] = self._positive([sample for _, sample in kept])
        batch = self.cast_data(batch)
        batch["pixels"], batch["pixel_mask"] = self._pad([frames[0] for frames, _ in kept])
        batch["data_samples"] = samples
        return batch

    def _pad(self, pictures: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Normalised pictures in the upper left corner of their rows, and where they are."""
        height = max((picture.shape[1] for picture in pictures), default=0)
        width = max((picture.shape[2] for picture in pictures), default=0)
        pixels = torch.zeros(len(pictures), 3, height, width, device=self.device)
        mask = torch.zeros(len(pictures), height, width, dtype=torch.bool, device=self.device)
        mean, std = self.mean[0, 0], self.std[0, 0]
        for row, picture in enumerate(pictures):
            _, rows, columns = picture.shape
            moved = picture.to(self.device, non_blocking=bool(self._non_blocking)).float()
            pixels[row, :, :rows, :columns] = (moved - mean) / std
            mask[row, :rows, :columns] = True
        return pixels, mask

    @staticmethod
    def _boxes(kept: list[tuple[Tensor, MultimodalSample]]) -> Tensor:
        found = torch.zeros(len(kept), 4)
        for row, (frames, sample) in enumerate(kept):
            height, width = frames.shape[2:]
            scale = torch.tensor([width, height, width, height], dtype=torch.float32)
            found[row] = to_centers(torch.as_tensor(sample.box, dtype=torch.float32)) / scale
        return found

    def _positive(self, samples: list[MultimodalSample]) -> Tensor:
        found = torch.zeros(len(samples), self.map_size, dtype=torch.bool)
        last = min(self.max_text_len, self.map_size) - 1
        for row, sample in enumerate(samples):
            places = self.tokenizer.places(sample.text, sample.tokens_positive)
            if places and places[-1] >= last:
                raise ValueError(
                    f"{sample.media_path}: the thing is named by token {places[-1]} of "
                    f"{sample.text[:80]!r}..., and max_text_len={self.max_text_len}, map_size="
                    f"{self.map_size} keep those before {last}: shorten the expression."
                )
            found[row, places] = True
        return found
