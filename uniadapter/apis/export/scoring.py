"""The parts one after another: from pixels and words to the scores of the test loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

#: What runs a part: from inputs to outputs, by name.
Program = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

#: Pairs that are matched at once: each has a copy of its medium.
_PAIRS = 16


class Programs:
    """Parts that run, whatever runs them.

    Args:
        programs: What runs each part, by its name.
    """

    def __init__(self, programs: Mapping[str, Program]) -> None:
        self.programs = programs

    @property
    def matches(self) -> bool:
        """Whether pairs can be matched."""
        return "matcher" in self.programs

    @property
    def weighs(self) -> bool:
        """Whether frames are weighted."""
        return "frames" in self.programs

    def visual(self, **inputs: Tensor) -> dict[str, Tensor]:
        """``features`` (B, E), ``tokens`` (B, N, M, D), ``frame_cls`` and ``frame_features``."""
        return self.programs["visual"](inputs)

    def text(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """``features`` (T, E) and ``cls`` (T, D)."""
        return self.programs["text"]({"input_ids": input_ids, "attention_mask": attention_mask})

    def frames(
        self, media: Mapping[str, Tensor], texts: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Similarities and weights (T, B, N) of frames; the latter sum to 1."""
        found = self.programs["frames"](
            {
                "frame_cls": media["frame_cls"],
                "frame_features": media["frame_features"],
                "text_cls": texts["cls"],
                "text_features": texts["features"],
            }
        )
        return found["frame_sims"], found["frame_weights"]

    def match(
        self,
        media: Mapping[str, Tensor],
        texts: Mapping[str, Tensor],
        sims: Tensor | None = None,
    ) -> Tensor:
        """Matching logits (B, T) of all pairs.

        Args:
            media: ``tokens``, ``frame_cls`` and ``frame_features`` of B media.
            texts: ``input_ids``, ``attention_mask``, ``features`` and ``cls`` of T texts.
            sims: Similarities of frames (T, B, N), where they are known already.
        """
        tokens, ids, mask = media["tokens"], texts["input_ids"], texts["attention_mask"]
        rows = torch.arange(len(tokens)).repeat_interleave(len(ids))
        columns = torch.arange(len(ids)).repeat(len(tokens))
        if sims is None and self.weighs and len(rows):
            sims = self.frames(media, texts)[0]
        logits = [torch.empty(0)]
        for start in range(0, len(rows), _PAIRS):
            row, column = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
            inputs = {
                "tokens": tokens[row].float(),
                "input_ids": ids[column],
                "attention_mask": mask[column],
            }
            if sims is not None:
                inputs["frame_sims"] = sims[column, row]
            logits.append(self.programs["matcher"](inputs)["logits"])
        return torch.cat(logits).view(len(tokens), len(ids))
