"""UniPT as a method of this package: a side network beside each run of a frozen tower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS
from uniadapter.utils.tensors import at_least_float32

from ...sites import Places
from ...taps import Call, Taps
from ..base import Adapter, check_choice, check_int, parse_layers
from .presets import PRESETS
from .side import SideNet

STARTS = ("auto", "frozen", "published")


class Beside(SideNet):
    """A side network and the taps that it reads.

    Args:
        chosen (Sequence[int]): Those taps, counted from 0, the embedding.
        **options: Of :class:`SideNet`.
    """

    def __init__(self, chosen: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.chosen = list(chosen)

    def read(self, guide: torch.Tensor, taps: Taps) -> torch.Tensor:
        """Answer beside a run; see :meth:`SideNet.forward`.

        Args:
            guide (Tensor): An embedding a row, (B, E), or the states that are to be replaced.
            taps (Taps): The states of the run.
        """
        states = [taps.hidden[index] for index in self.chosen]
        if self.reduce is not None:
            # Maps, the last stage's own in the place of its tokens.
            return self([*states, taps.hidden[-1]])
        if self.guide == "last":
            return self([*states, guide], mask=taps.mask)
        index = self.residual == "index" and taps.place is not None
        return self(states, guide, taps.mask, taps.place if index else 0)


@MODELS.register_module()
class UniPT(Adapter):
    """Side networks that read the states of frozen layers; no gradient enters their tower.

    - Where a task compares embeddings (retrieval): the CLIP4Clip form beside both towers. The guide
      is the frozen projected embedding z of a frame or a text, R_i the token that stands for it,
      and ``U(relu(F))`` is added to z. The projections stay frozen, else z would move under the
      side network.
    - Where a task compares what it pools from all tokens (VSE-infinity's): in place of both towers'
      states, which come in the width that is compared. The VSE form, guided by the last layer.
    - In place of the states of texts that have read a medium (matching, questions), or, where a
      model has none and compares nothing, of the visual tower's (captions, other backbones): the
      CLIP-ViL form, guided by what the tower gave. In front of a frozen decoder its gradients go
      through that decoder, and no further.

    Beside a convolution network, whose layers are stages and leave maps, the form is that of VSE's
    image side: maps are brought to the last one's grid first, and norms are batch norms.

    Args:
        places (Places): The model's sites.
        side_dim (int, optional): Side width h beside embeddings. Defaults to None: the embedding's.
        reduction (int): In place of states the side width is the output's / ``reduction``. Defaults
            to 2.
        taps (list[int] | str | dict, optional): Layers that are read, such as ``'0,2-12'``, 0 being
            the embedding; in place of states the last one is the guide and does not count. A dict
            has them by role, such as ``dict(text='0,4,8')``, all of a role that it lacks. A
            convolution network has its stages from 1. Defaults to None: all.
        confidence (str): ``'gate'``, or ``'uniform'``: all taps count alike. A single tap has no
            gate.
        identity (bool): Add the residual R_i. Defaults to True; False is an ablation.
        start (str): ``'published'``: U as the authors initialise it. ``'frozen'``: U starts at
            zero, and the output is the frozen one plus a term, so that step 0 is the frozen model.
            ``'auto'`` (default): ``'frozen'`` where what reads the output is frozen itself.
        tower_dropout (bool): Leave the dropout of the frozen towers on in training, as the
            published codes do. Defaults to False.
        autocast (bool): Run the side networks in half precision where the towers run so. False:
            in float32 beside towers of any type, as CLIP4Clip's side networks do. Defaults to True.

    Raises:
        ValueError: If an option is outside its set, or nothing in the model reads it.
    """

    def __init__(
        self,
        places: Places,
        side_dim: int | None = None,
        reduction: int = 2,
        taps: Iterable[int] | str | Mapping[str, Iterable[int] | str | None] | None = None,
        confidence: str = "gate",
        identity: bool = True,
        start: str = "auto",
        tower_dropout: bool = False,
        autocast: bool = True,
    ) -> None:
        options = {
            "side_dim": side_dim,
            "reduction": reduction,
            "taps": _plain(taps),
            "confidence": confidence,
            "identity": identity,
            "start": start,
            "tower_dropout": tower_dropout,
            "autocast": autocast,
        }
        super().__init__(places, options)
        check_choice(confidence, ("gate", "uniform"), "adapter.confidence")
        check_choice(start, STARTS, "adapter.start")
        for name, size in (("side_dim", side_dim), ("reduction", reduction)):
            if size is not None:
                check_int(size, 1, f"adapter.{name}")
        roles = places.roles()
        self.embedded = tuple(role for role in roles if role in places.embeddings)
        if side_dim is not None and not self.embedded:
            raise ValueError(
                f"adapter.side_dim={side_dim} is the width beside embeddings, of which this model "
                "has none: set adapter.reduction."
            )
        self.pooled = tuple(role for role in roles if role in places.pooled)
        replaced = [*self.pooled, *(role for role in roles if role == "fusion")]
        if not (replaced or self.embedded):
            replaced = roles[:1]
        self.tapped = (*self.embedded, *replaced)
        if isinstance(taps, Mapping) and set(taps) - set(self.tapped):
            raise ValueError(
                f"adapter.taps={self.options['taps']!r}: the roles that are read are "
                f"{list(self.tapped)}."
            )
        self.tower_dropout, self.autocast = tower_dropout, autocast
        # Taps of an embedded role's run, until its term is asked for.
        self._left: dict[str, Taps] = {}
        self.sides: Any = nn.ModuleDict()
        for role in self.embedded:
            self.sides[role] = self._beside_embedding(role)
        for role in replaced:
            self.sides[role] = self._in_place(role)

    def _beside_embedding(self, role: str) -> Beside:
        """The CLIP4Clip form; the head adds the term to its embedding."""
        dim = self.places.embeddings[role]
        chosen = self._chosen(role, self.options["taps"])
        options = {
            **PRESETS["clip4clip_image"],
            **self._common(role, chosen),
            "guide_dim": dim,
            "out_dim": dim,
            "side_dim": self.options["side_dim"] or dim,
            "residual": "index" if self.options["identity"] else "none",
            "out_residual": False,
            # Both projections are frozen.
            "zero_up": self.options["start"] != "published",
        }
        return Beside(chosen, **options)

    def _in_place(self, role: str) -> Beside:
        """The CLIP-ViL or VSE form; what the last layer gave is the guide, not a tap."""
        widths = self.places.widths(role)
        width = self.places.pooled.get(role, widths[-1])
        chosen = [tap for tap in self._chosen(role, self.options["taps"]) if tap < len(widths)]
        if not chosen:
            raise ValueError(
                f"adapter.taps={self.options['taps']!r} leaves no tap beside the guide, the last "
                f"layer of {role}: name one of the layers before."
            )
        side_dim, rest = divmod(width, self.options["reduction"])
        if rest:
            raise ValueError(
                f"adapter.reduction={self.options['reduction']} does not divide the width "
                f"{width} of the states."
            )
        start = self.options["start"]
        keeps = start == "frozen" or (start == "auto" and role in self.places.frozen)
        if keeps and width != widths[-1]:
            raise ValueError(
                f"adapter.start={start!r} adds to the frozen states of {role}, {widths[-1]} wide, "
                f"and those that are compared are {width} wide: leave it at 'auto'."
            )
        form = "vse_text" if role in self.places.pooled else "clip_vil"
        options = {
            **PRESETS["vse_image" if role in self.places.maps else form],
            **self._common(role, chosen),
            "guide_dim": widths[-1],
            "out_dim": width,
            "side_dim": side_dim,
            "residual": "identity" if self.options["identity"] else "none",
            "out_residual": keeps,
            "zero_up": keeps,
        }
        return Beside(chosen, **options)

    def _chosen(self, role: str, taps: Any) -> list[int]:
        """Numbers of the taps of a role, 0 being the embedding, which stages of maps have not."""
        taps = taps.get(role) if isinstance(taps, Mapping) else taps
        lowest, depth = int(role in self.places.maps), len(self.places.widths(role))
        return [tap + lowest for tap in parse_layers(taps, depth, "adapter.taps", lowest)]

    def _common(self, role: str, chosen: list[int]) -> dict[str, Any]:
        widths = self.places.widths(role)
        states = [widths[0], *widths]
        return {
            "in_dims": [states[tap] for tap in chosen],
            "confidence": self.options["confidence"] if len(chosen) > 1 else "uniform",
        }

    def run(self, role: str, tower: Any, call: Call) -> torch.Tensor:
        """The frozen states of an embedded role, what takes their place of another one."""
        taps = call.taps()
        if role in self.embedded:
            self._left[role] = taps
            return taps.out
        return self._read(role, taps.out, taps)

    def reads(self, role: str) -> list[int]:
        """See :meth:`Adapter.reads`."""
        return list(self.sides[role].chosen)

    def term(self, role: str, embedding: torch.Tensor) -> torch.Tensor:
        """``U(relu(F))`` of embeddings (B, E); see :meth:`Adapter.term`."""
        return self._read(role, embedding, self._left.pop(role))

    def _read(self, role: str, guide: torch.Tensor, taps: Taps) -> torch.Tensor:
        side: Any = self.sides[role]
        device = guide.device.type
        if self.autocast or not torch.is_autocast_enabled(device):
            return side.read(guide, taps)
        with torch.autocast(device, enabled=False):
            return side.read(at_least_float32(guide), taps)

    def normalise(self, option: str, value: Any) -> Any:
        """Taps as their numbers; see :meth:`Adapter.normalise`."""
        value = super().normalise(option, value)
        if option == "taps":
            return [self._chosen(role, value) for role in self.tapped]
        return value


def _plain(taps: Any) -> Any:
    """Taps as a file keeps them."""
    if isinstance(taps, Mapping):
        return {role: _plain(chosen) for role, chosen in taps.items()}
    return taps if taps is None or isinstance(taps, str) else list(taps)
