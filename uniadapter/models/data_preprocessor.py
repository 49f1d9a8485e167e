"""From a batch of the data loader to the keyword arguments of a model's forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor
from torch.nn import functional as F

from ..registry import MODELS, TOKENIZERS
from ..structures import KeptItem, MultimodalSample
from ..structures.kept_taps import collate
from .base_tokenizer import TextTokenizer
from .word_masking import WordMasking

#: BLIP's channel statistics, in units of 0..255.
BLIP_MEAN = (122.770938, 116.7460125, 104.09373615)
BLIP_STD = (68.5005327, 66.6321579, 70.32316305)


@MODELS.register_module()
class MultimodalDataPreprocessor(BaseDataPreprocessor):
    """Stack and normalise frames, tokenize captions, and move both to the model's device.

    Args:
        mean: Mean of the three channels, in units of 0..255.
        std: Standard deviation of the three channels, in units of 0..255.
        tokenizer: Config of a tokenizer of the registry ``TOKENIZERS``; without a ``type``, or
            None, a :class:`BertTokenizer`.
        max_text_len: Tokens kept of a caption, the marks at its ends included.
        non_blocking: Copy to the device without waiting.
        pad_frames: Frames of every medium of a batch: those that have fewer get frames of zeros
            behind them, and the batch a ``frame_mask``. None: all media have the same number.
        word_masking: Change words of the texts in training: options of :class:`WordMasking`, ``{}``
            for VSE-infinity's. Defaults to None: texts are as they are.
        pad_texts: Pad captions to ``max_text_len`` tokens rather than to the longest of the batch.

    Raises:
        ValueError: For statistics that are not three numbers, a std that is not positive, a number
            below 1, or a tokenizer that can't tell words apart where they are to be masked.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = BLIP_MEAN,
        std: Sequence[float] = BLIP_STD,
        tokenizer: dict[str, Any] | None = None,
        max_text_len: int = 35,
        non_blocking: bool = False,
        pad_frames: int | None = None,
        word_masking: dict[str, float] | None = None,
        pad_texts: bool = False,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        for name, values in (("mean", mean), ("std", std)):
            if not isinstance(values, Sequence) or len(values) != 3:
                raise ValueError(
                    f"MultimodalDataPreprocessor: {name} must have three numbers, got {values!r}."
                )
        if min(std) <= 0:
            raise ValueError(f"MultimodalDataPreprocessor: std must be positive, got {std!r}.")
        if max_text_len < 3:
            raise ValueError(
                "MultimodalDataPreprocessor: max_text_len must leave room for [CLS], a word and "
                f"[SEP], got {max_text_len}."
            )
        if pad_frames is not None and pad_frames < 1:
            raise ValueError(
                f"MultimodalDataPreprocessor: pad_frames must be at least 1, got {pad_frames}."
            )
        self.pad_frames = pad_frames
        self.register_buffer("mean", torch.tensor(mean).view(1, 1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 1, 3, 1, 1), persistent=False)
        self.tokenizer = TOKENIZERS.build({"type": "BertTokenizer", **(tokenizer or {})})
        self.max_text_len, self.pad_texts = max_text_len, pad_texts
        self.change_words = _change_of_words(word_masking, self.tokenizer)

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Prepare one batch.

        Args:
            data: ``inputs``, a list of (N, 3, H, W) uint8 tensors, or None for a medium that was
                skipped, or of :class:`KeptItem`, whose batch has :class:`KeptFrames` in place of
                ``pixels``; ``data_samples``, as many :class:`MultimodalSample`.
            training: Whether words are changed, with ``word_masking``. Whether a sample has one
                caption or many is its own matter.

        Returns:
            Keyword arguments of ``model.forward``. With B samples that have pixels and T captions
            of them: ``pixels`` (B, N, 3, H, W) float, ``input_ids`` and ``attention_mask`` (T, L)
            long, ``media_ids`` (B,) long, and ``data_samples``, all samples of the batch: those
            with ``skipped=True`` stand in it alone. When every sample was skipped B and T are 0.
            With ``pad_frames`` N is that number, and ``frame_mask`` (B, N) long is 0 where a frame
            is padding.

        Raises:
            ValueError: When the samples differ in number or size of frames, one has more than
                ``pad_frames``, or a ``media_id`` is negative.
        """
        samples: list[MultimodalSample] = list(data["data_samples"])
        kept = [pair for pair in zip(data["inputs"], samples, strict=True) if pair[0] is not None]
        for _, sample in kept:
            if sample.media_id < 0:
                # The feature queue starts with entries of such an id, which belong to no medium.
                raise ValueError(
                    f"{sample.media_path}: media_id {sample.media_id} is negative; a dataset "
                    "numbers its media from 0."
                )
        texts = [text for _, sample in kept for text in sample.captions()]
        input_ids, attention_mask = self.tokenize(texts, training)
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "media_ids": torch.tensor([sample.media_id for _, sample in kept], dtype=torch.long),
        }
        batch = self.cast_data(batch)
        if kept and isinstance(kept[0][0], KeptItem):
            return {**batch, **self._kept(kept, batch), "data_samples": samples}
        pixels = self._stack(kept).to(self.device, non_blocking=bool(self._non_blocking))
        # Bytes cross to the device, a quarter of the floats they become there.
        batch["pixels"] = (pixels.float() - self.mean) / self.std
        if self.pad_frames is not None and kept:
            mask = self._real_frames([frames for frames, _ in kept])
            batch["frame_mask"] = mask.to(self.device, non_blocking=bool(self._non_blocking))
            # Zeros behind the normalisation.
            batch["pixels"] = batch["pixels"] * batch["frame_mask"][:, :, None, None, None]
        batch["data_samples"] = samples
        return batch

    def tokenize(self, texts: Sequence[str], training: bool = False) -> tuple[Tensor, Tensor]:
        """Ids and mask (T, L) long, on the CPU, of T texts.

        Args:
            texts: The texts, cleaned.
            training: Whether words are changed, with ``word_masking``.
        """
        changed = (self.change_words,) if training and self.change_words else ()
        input_ids, attention_mask = self.tokenizer(list(texts), self.max_text_len, *changed)
        if self.pad_texts:
            more = (0, self.max_text_len - input_ids.shape[1])
            input_ids = F.pad(input_ids, more, value=self.tokenizer.pad_token_id)
            attention_mask = F.pad(attention_mask, more)
        return input_ids, attention_mask

    def _kept(self, kept: list, batch: dict[str, Any]) -> dict[str, Any]:
        """States in place of pixels, and the mask of the frames."""
        items = [item for item, _ in kept]
        texts = (batch["input_ids"], batch["attention_mask"])
        names = [str(sample.media_path) for _, sample in kept]
        frames = collate(items, self.pad_frames, *texts, names, self.device)
        if self.pad_frames is None:
            return {"pixels": frames}
        mask = self._real_frames([item.frames.out for item in items])
        return {"pixels": frames, "frame_mask": mask.to(self.device)}

    def _stack(self, kept: list[tuple[Tensor, MultimodalSample]]) -> Tensor:
        if not kept:
            return torch.zeros(0, 0, 3, 0, 0, dtype=torch.uint8)
        if self.pad_frames is not None:
            kept = [(self._padded(*pair), pair[1]) for pair in kept]
        shape = kept[0][0].shape
        for frames, sample in kept:
            if frames.shape != shape:
                raise ValueError(
                    f"{sample.media_path}: frames of shape {tuple(frames.shape)} beside "
                    f"{tuple(shape)} of {kept[0][1].media_path} in one batch; end the pipeline "
                    "with VideoResize or VideoRandomResizedCrop; behind FitAndPad make batches of "
                    "one orientation, batch_sampler=dict(type='OrientedBatchSampler')."
                )
        return torch.stack([frames for frames, _ in kept])

    def _padded(self, frames: Tensor, sample: MultimodalSample) -> Tensor:
        """Frames (n, 3, H, W) with empty ones behind them, ``pad_frames`` in all."""
        missing = (self.pad_frames or 0) - len(frames)
        if missing < 0:
            raise ValueError(
                f"{sample.media_path}: {len(frames)} frames, but data_preprocessor.pad_frames="
                f"{self.pad_frames}: let the pipeline load at most as many."
            )
        return torch.cat((frames, frames.new_zeros(missing, *frames.shape[1:])))

    def _real_frames(self, media: Sequence[Tensor]) -> Tensor:
        """(B, N), 1 for frames of media and 0 for those added to them."""
        lengths = torch.tensor([len(frames) for frames in media], dtype=torch.long)
        return (torch.arange(self.pad_frames or 0)[None] < lengths[:, None]).long()


def _change_of_words(
    options: dict[str, float] | None, tokenizer: Any
) -> Callable[[str], list[int]] | None:
    """What changes words of a text in training, by the option ``word_masking``."""
    if options is None:
        return None
    known = {field.name for field in fields(WordMasking)}
    if not isinstance(options, Mapping) or set(options) - known:
        raise ValueError(
            f"MultimodalDataPreprocessor: word_masking={options!r} takes {sorted(known)}; {{}} "
            "leaves them at VSE-infinity's."
        )
    if getattr(type(tokenizer), "words", TextTokenizer.words) is TextTokenizer.words:
        raise ValueError(
            "MultimodalDataPreprocessor: word_masking needs a tokenizer that tells words "
            f"apart, such as BertTokenizer; {type(tokenizer).__name__} does not."
        )
    return partial(WordMasking(**options), tokenizer)
