"""UniPT beside an encoder and the decoder that reads it: two side networks, joined by a crosser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS

from ...sites import Places
from ...taps import Call
from ..base import Adapter, check_choice, check_int, parse_layers
from .presets import PRESETS
from .side import SideNet

ROLES = ("encoder", "decoder")
STARTS = ("published", "frozen")


@MODELS.register_module()
class CoupledUniPT(Adapter):
    """MDETR's form: side networks beside encoder and decoder; no gradient enters either.

    The encoder's side output is the memory that the decoder's taps read (the crosser), while the
    frozen decoder goes on reading the frozen encoder. The guides are the last layers, the decoder's
    behind its final norm. The decoder's side network answers with one output a tap, for auxiliary
    losses, and the prediction behind them: (taps + 1, B, Q, d). It begins at random, and what the
    frozen decoder knew has to be learned again; ``start='frozen'``, which is not published, begins
    as the frozen model.

    Args:
        places (Places): The model's sites; of the roles ``encoder`` and ``decoder``.
        reduction (int): The side width is the towers' / ``reduction``. Defaults to 2.
        taps (list[int] | str, optional): Layers that both sides read, counted from 1, 0 being what
            goes into the first. Defaults to ``'1,3,5'``; None: all but the last, which guides.
        confidence (str): ``'gate'``, or ``'uniform'``: all taps count alike. A single tap has no
            gate.
        identity (bool): Add the residual T_i. Defaults to True; False is an ablation.
        tower_dropout (bool): Leave the dropout of the frozen towers on in training, as the
            published code does. Defaults to False.
        start (str): ``'published'``: as the authors initialise it. ``'frozen'``: the prediction is
            the frozen decoder's output plus a term that starts at zero, the only output: a tap's
            own would begin at zero. The names of the weights are the same, their meaning is
            another one, which the authors' code does not have. Defaults to ``'published'``.

    Raises:
        ValueError: If an option is outside its set, or the model has not both roles.
    """

    tapped = ROLES

    def __init__(
        self,
        places: Places,
        reduction: int = 2,
        taps: Iterable[int] | str | None = "1,3,5",
        confidence: str = "gate",
        identity: bool = True,
        tower_dropout: bool = False,
        start: str = "published",
    ) -> None:
        options = {
            "reduction": reduction,
            "taps": taps if taps is None or isinstance(taps, str) else list(taps),
            "confidence": confidence,
            "identity": identity,
            "tower_dropout": tower_dropout,
            "start": start,
        }
        super().__init__(places, options)
        check_choice(confidence, ("gate", "uniform"), "adapter.confidence")
        check_choice(start, STARTS, "adapter.start")
        check_int(reduction, 1, "adapter.reduction")
        if not set(ROLES) <= set(places.roles()):
            raise ValueError(
                f"CoupledUniPT stands beside an encoder and its decoder, and this model has the "
                f"roles {places.roles()}: use UniPT."
            )
        self.tower_dropout = tower_dropout
        self.chosen = {role: self._chosen(role) for role in ROLES}
        self.sides: Any = nn.ModuleDict({role: self._side(role) for role in ROLES})

    def _chosen(self, role: str) -> list[int]:
        depth = len(self.places.widths(role)) - 1
        return parse_layers(self.options["taps"], depth, "adapter.taps", lowest=0)

    def _side(self, role: str) -> SideNet:
        widths, chosen = self.places.widths(role), self.chosen[role]
        side_dim, rest = divmod(widths[-1], self.options["reduction"])
        if rest:
            raise ValueError(
                f"adapter.reduction={self.options['reduction']} does not divide the width "
                f"{widths[-1]} of the {role}."
            )
        options = {
            **PRESETS[f"mdetr_{role}"],
            "in_dims": [[widths[0], *widths][tap] for tap in chosen],
            "guide_dim": widths[-1],
            "side_dim": side_dim,
            "confidence": self.options["confidence"] if len(chosen) > 1 else "uniform",
            "residual": "identity" if self.options["identity"] else "none",
        }
        if role == "decoder":
            frozen = self.options["start"] == "frozen"
            options["out_dim"] = widths[-1]
            options.update(every_tap=not frozen, out_residual=frozen, zero_up=frozen)
        return SideNet(**options)

    def run(self, role: str, tower: Any, call: Call) -> torch.Tensor:
        """The encoder's side output (B, S, h), or the decoder's outputs (taps + 1 or 1, B, Q, d).

        A decoder's run reads the encoder's side output, ``call.reads()``.
        """
        taps, side = call.taps(), self.sides[role]
        states = [taps.hidden[tap] for tap in self.chosen[role]]
        if role == "encoder":
            found: torch.Tensor = side([*states, taps.out], mask=taps.mask)
            return found
        read = call.reads()
        if read is None:
            raise ValueError("The decoder's side network reads the encoder's: nothing was given.")
        outputs: torch.Tensor = side(
            states, taps.out, taps.mask, memory=read.states, memory_mask=read.mask
        )
        return outputs if side.every_tap else outputs[None]

    def normalise(self, option: str, value: Any) -> Any:
        """Taps as their numbers; see :meth:`Adapter.normalise`."""
        value = super().normalise(option, value)
        if option == "taps":
            depths = [len(self.places.widths(role)) - 1 for role in ROLES]
            return [parse_layers(value, depth, "adapter.taps", lowest=0) for depth in depths]
        return value
