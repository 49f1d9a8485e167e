"""The parts of a retrieval model that become graphs: what goes in and comes out, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: Axes of any length, by the names that they have in files: media, frames of a medium, texts,
#: words of a text, and pairs of a text and a medium.
AXES = ("media", "frames", "texts", "words", "pairs")

Axis = str | int

#: What needs the packages of the extra, for the error of a missing one.
ONNX_FILES = "An export as ONNX files (format='torch' does without)"


@dataclass(frozen=True)
class Value:
    """A tensor that goes into a part or comes out of it.

    Attributes:
        shape: For each axis its length, or one of :data:`AXES`.
        dtype: ``'float32'`` or ``'int64'``.
    """

    shape: tuple[Axis, ...]
    dtype: str = "float32"


class Part(nn.Module):
    """A part of a model.

    Args:
        model: The retrieval model.
        inputs: What goes in, by name and in the order of :meth:`forward`.
        outputs: What comes out, in order.
    """

    name: str

    def __init__(self, model: Any, inputs: dict[str, Value], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.inputs, self.outputs = inputs, outputs


class VisualPart(Part):
    """From pixels to features, tokens, and what frames are weighted by."""

    name = "visual"

    def __init__(self, model: Any, size: tuple[int, int]) -> None:
        inputs = {"pixels": Value(("media", "frames", 3, *size))}
        if getattr(model.data_preprocessor, "pad_frames", None) is not None:
            inputs["frame_mask"] = Value(("media", "frames"), "int64")
        outputs = ("features", "tokens", "frame_cls", "frame_features")
        super().__init__(model, inputs, outputs)

    def forward(self, pixels: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Media (B, N, 3, H, W): (B, E), (B, N, M, D), (B, N, D) and (B, N, E)."""
        tokens, features, frames = self.model.encode_visual(pixels, frame_mask=frame_mask)
        return features, tokens, tokens[:, :, 0], frames


class TextPart(Part):
    """From words to features, and to what frames are weighted by."""

    name = "text"

    def __init__(self, model: Any) -> None:
        words = Value(("texts", "words"), "int64")
        super().__init__(model, {"input_ids": words, "attention_mask": words}, ("features", "cls"))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Texts (T, L): (T, E) and (T, D)."""
        states, features = self.model.encode_text(input_ids, attention_mask, class_only=True)
        return features, states[:, 0]


class MatcherPart(Part):
    """Matching logits of pairs."""

    name = "matcher"

    def __init__(self, model: Any, tokens: tuple[int, int]) -> None:
        words = Value(("pairs", "words"), "int64")
        inputs = {
            "tokens": Value(("pairs", "frames", *tokens)),
            "input_ids": words,
            "attention_mask": words,
        }
        if model.pfa is not None:
            inputs["frame_sims"] = Value(("pairs", "frames"))
        super().__init__(model, inputs, ("logits",))

    def forward(
        self,
        tokens: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        frame_sims: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Logits (P,) that tokens (P, N, M, D) and texts (P, L) belong together."""
        return (self.model.match(input_ids, attention_mask, tokens, frame_sims)[:, 1],)


class FramesPart(Part):
    """Frame-aware attention: similarities of texts to frames, and the weights made of them."""

    name = "frames"

    def __init__(self, model: Any) -> None:
        width, text_width, size = model.visual.embed_dims, model.text.hidden_size, model.embed_dim
        inputs = {
            "frame_cls": Value(("media", "frames", width)),
            "frame_features": Value(("media", "frames", size)),
            "text_cls": Value(("texts", text_width)),
            "text_features": Value(("texts", size)),
        }
        super().__init__(model, inputs, ("frame_sims", "frame_weights"))

    def forward(
        self, frame_cls: Tensor, frame_features: Tensor, text_cls: Tensor, text_features: Tensor
    ) -> tuple[Tensor, ...]:
        """Similarities (T, V, N), and weights (T, V, N) that sum to 1 over the frames."""
        sims = self.model.frame_sims(frame_cls, frame_features, text_cls, text_features)
        weights = self.model.pfa.weights(sims.flatten(0, 1)).reshape(sims.shape)
        return sims, weights / weights.sum(-1, keepdim=True)


@torch.no_grad()
def parts_of(model: Any, size: tuple[int, int]) -> dict[str, Part]:
    """The parts of a retrieval model by name.

    Args:
        model: The model, in evaluation mode.
        size: Height and width of a frame in pixels.
    """
    parts: list[Part] = [VisualPart(model, size), TextPart(model)]
    if model.matches:
        # Towers differ in how many tokens they make of a frame: one is tried.
        blank = next(model.parameters()).new_zeros(1, 1, 3, *size)
        _, _, count, width = model.encode_visual(blank)[0].shape
        parts.append(MatcherPart(model, (count, width)))
        if model.pfa is not None:
            parts.append(FramesPart(model))
    return {part.name: part for part in parts}
