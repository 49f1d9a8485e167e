"""Whether exported files give what the model gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .parts import Part
from .scoring import Programs

#: The largest difference that is let pass.
TOLERANCE = 1e-4


class PartProgram:
    """A part that the model itself runs.

    Args:
        part: The part.
    """

    def __init__(self, part: Part) -> None:
        self.part = part

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the part makes of inputs, by name; on the CPU."""
        device = next(self.part.model.parameters()).device
        found = self.part(**{name: tensor.to(device) for name, tensor in inputs.items()})
        return {n: t.cpu() for n, t in zip(self.part.outputs, found, strict=True)}


class Draws:
    """Inputs of a model, drawn at random.

    Args:
        model: The model.
        size: Height and width of a frame.
        seed: Of what is drawn.
    """

    def __init__(self, model: Any, size: tuple[int, int], seed: int = 0) -> None:
        self.size, self.preprocessor = size, model.data_preprocessor
        self.tokenizer = self.preprocessor.tokenizer
        self.generator = torch.Generator().manual_seed(seed)

    def pixels(self, media: int, frames: int) -> dict[str, Tensor]:
        """What the visual part takes of media (B, N, 3, H, W)."""
        drawn = torch.randn(media, frames, 3, *self.size, generator=self.generator)
        if self.preprocessor.pad_frames is None:
            return {"pixels": drawn}
        mask = torch.ones(media, frames, dtype=torch.long)
        for row in range(media):
            mask[row, self.number(1, frames) :] = 0
        return {"pixels": drawn * mask[:, :, None, None, None], "frame_mask": mask}

    def number(self, low: int, high: int) -> int:
        """A number from ``low`` to ``high``."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def words(self, lengths: list[int], width: int) -> dict[str, Tensor]:
        """Texts of these lengths, marks included, as wide as given."""
        tokenizer = self.tokenizer
        ids = torch.full((len(lengths), width), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, length in enumerate(lengths):
            text = torch.randint(tokenizer.vocab_size, (length,), generator=self.generator)
            text[0], text[-1] = tokenizer.cls_token_id, tokenizer.sep_token_id
            ids[row, :length], mask[row, :length] = text, 1
        return {"input_ids": ids, "attention_mask": mask}


def largest_difference(model: Programs, exported: Programs, draws: Draws, frames: int) -> float:
    """Compare all that comes out of both, from drawn pixels and words to scores.

    A medium of one frame and the shortest text, all frames and the longest text, and padding that
    is wider than any text.

    Args:
        model: The model's own parts.
        exported: Those in files.
        draws: Inputs.
        frames: Most frames of a medium.

    Returns:
        The largest difference; where numbers are above 1, as a share of the largest of them.
    """
    longest = int(draws.preprocessor.max_text_len)
    few = draws.number(1, frames)
    cases = (
        (draws.pixels(1, 1), draws.words([2], 2)),
        (draws.pixels(1, frames), draws.words([longest, draws.number(2, longest)], longest)),
        (draws.pixels(2, few), draws.words([2, draws.number(2, max(2, longest // 2))], longest)),
    )
    largest = 0.0
    wanted, found = outputs_of(model, cases), outputs_of(exported, cases)
    for ours, theirs in zip(wanted, found, strict=True):
        for name, value in ours.items():
            scale = max(1.0, float(value.abs().max()))
            apart = float((theirs[name] - value).abs().max()) / scale
            # A NaN is no small difference.
            largest = max(largest, apart if apart == apart else float("inf"))
    return largest


def outputs_of(
    programs: Programs, cases: Sequence[tuple[dict[str, Tensor], dict[str, Tensor]]]
) -> list[dict[str, Tensor]]:
    """All that comes out of the parts for media and texts, and what is made of it.

    One part after another: of several gigabytes each, one is in memory.

    Args:
        programs: The parts.
        cases: Pixels and words, each as a part takes them.
    """
    media = [programs.visual(**pixels) for pixels, _ in cases]
    texts = [{**programs.text(**words), **words} for _, words in cases]
    found = [
        {
            **{f"visual.{n}": v for n, v in seen.items()},
            "text": read["features"],
            "cls": read["cls"],
        }
        for seen, read in zip(media, texts, strict=True)
    ]
    pairs = list(zip(found, media, texts, strict=True))
    for outputs, seen, read in pairs:
        outputs["cosines"] = seen["features"] @ read["features"].t()
        if programs.weighs:
            outputs["sims"], outputs["weights"] = programs.frames(seen, read)
    for outputs, seen, read in pairs:
        if programs.matches:
            outputs["logits"] = programs.match(seen, read, outputs.get("sims"))
    return found
