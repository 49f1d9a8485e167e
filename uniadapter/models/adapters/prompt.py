"""Learnable prompts: CoOp's (Zhou et al. 2022) on texts, VPT's (Jia et al. 2022) on pictures."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from uniadapter.registry import MODELS

from ..sites import Places
from .base import Adapter, check_int


def _whole(table: nn.ParameterDict, role: str) -> torch.Tensor:
    return table[role]


def _row(table: nn.ParameterDict, role: str, row: int) -> torch.Tensor:
    return table[role][row]


@MODELS.register_module()
class Prompt(Adapter):
    """Trained tokens behind the first one of a run, dropped behind its last layer.

    Texts: n vectors in the place of words behind ``[CLS]`` (or ``[ENC]``), normal of standard
    deviation 0.02 at the start; they get positions and the embedding's norm, and words move behind
    them. A run that reads media has vectors of its own. Pictures: n vectors before the first layer
    and behind the position embedding (VPT's shallow form), uniform within ``sqrt(3 / d)``, which is
    VPT's bound at ViT-B/16; with ``deep`` every further layer drops what became of them and gets n
    of its own (VPT's deep form). What leaves a tower has no prompts, so frame weights and
    cross-attention know nothing of them. Step 0 is not the frozen model. CLIP-Prompt's
    layers over frames are a pooling of the task's, :class:`~uniadapter.models.TemporalPooling`.

    Args:
        places (Places): The model's sites.
        text (int): Vectors in a run of texts. Defaults to 16; 0 leaves texts as they are.
        visual (int): Vectors in a picture. Defaults to 10; 0 leaves pictures as they are.
        deep (bool): Vectors in front of every layer of a picture. Defaults to False, the first.

    Raises:
        ValueError: If there are none, or a role has no place for tokens.
    """

    def __init__(
        self, places: Places, text: int = 16, visual: int = 10, deep: bool = False
    ) -> None:
        for key, number in (("text", text), ("visual", visual)):
            check_int(number, 0, f"adapter.{key}")
        if deep and not (visual and places.of("visual.tokens", "visual.attn")):
            raise ValueError(
                "adapter.deep=True puts vectors in front of every layer of pictures, of which "
                f"there are none (adapter.visual={visual}): set it to False."
            )
        super().__init__(places, {"text": text, "visual": visual, "deep": deep})
        self.prompts, self.deeper = nn.ParameterDict(), nn.ParameterDict()
        for role in (role for role in places.roles() if role != "decoder"):
            number = visual if role == "visual" else text
            # Fusion that continues from a text's states begins with none.
            if number and (role != "fusion" or places.of("fusion.tokens")):
                self._add(role, number)
        if not self.prompts or (text and set(self.prompts) == {"visual"}):
            raise ValueError(
                f"adapter.text={text} and adapter.visual={visual} put tokens into "
                f"{list(self.prompts)} of the roles {places.roles()}: choose numbers that act."
            )

    def _add(self, role: str, number: int) -> None:
        slots = self.places.need(f"{role}.tokens", "Prompt")
        first, *others = (slots[index] for index in sorted(slots))
        others = others if role == "visual" and self.options["deep"] else []
        vectors = torch.randn(number, first.dim) * 0.02
        if role == "visual":
            vectors = self._uniform(number, first.dim)
        self.prompts[role] = nn.Parameter(vectors)
        first.fill(partial(_whole, self.prompts, role))
        if others:
            self.deeper[role] = nn.Parameter(self._uniform(len(others), number, first.dim))
        for row, slot in enumerate(others):
            slot.fill(partial(_row, self.deeper, role, row))

    @staticmethod
    def _uniform(*shape: int) -> torch.Tensor:
        return (torch.rand(*shape) * 2 - 1) * math.sqrt(3 / shape[-1])
