"""UniPT as a method of this package: a side network beside each run of a frozen tower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS
from uniadapter.utils.tensors import at_least_float32

from ...sites import Places
from ...taps import Call, Read, Taps
from ..base import Adapter, check_choice, check_int, parse_layers
from .presets import PRESETS
from .side import SideNet

STARTS = ("auto", "frozen", "published")
DECODERS = ("frozen", "side")


def _plain(taps: Any) -> Any:
    """Taps as a file keeps them."""
    if isinstance(taps, Mapping):
        return {role: _plain(chosen) for role, chosen in taps.items()}
    return taps if taps is None or isinstance(taps, str) else list(taps)


class Beside(SideNet):
    """A side network and the taps that it reads.

    Args:
        chosen (Sequence[int]): Those taps, counted from 0, the embedding.
        **options: Of :class:`SideNet`.
    """

    def __init__(self, chosen: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.chosen = list(chosen)

    def read(self, guide: torch.Tensor, taps: Taps, read: Read | None = None) -> torch.Tensor:
        """Answer beside a run; see :meth:`SideNet.forward`.

        Args:
            guide (Tensor): An embedding a row, (B, E), or the states that are to be replaced.
            taps (Taps): The states of the run.
            read (Read, optional): What the run read, with the encoder's side output.
        """
        states = [taps.hidden[index] for index in self.chosen]
        if self.reduce is not None:
            # Maps, the last stage's own in the place of its tokens.
            return self([*states, taps.hidden[-1]])
        # A vector asks maps of any size: their places are tokens.
        states = [x.flatten(2).transpose(1, 2) if x.dim() == 4 else x for x in states]
        if self.guide == "last":
            return self([*states, guide], mask=taps.mask)
        if read is not None:
            # One row where all texts read the same.
            side, mask = (
                None if part is None else part.expand(guide.shape[0], *part.shape[1:])
                for part in (read.side, read.mask)
            )
            return self(states, guide, taps.mask, memory=side, memory_mask=mask)
        index = self.residual == "index" and taps.place is not None
        return self(states, guide, taps.mask, taps.place if index else 0)


@dataclass(frozen=True)
class UniPTOptions:
    """What a config may say of :class:`UniPT`.

    Args:
        side_dim (int, optional): Side width h beside embeddings. Defaults to None: the embedding's.
        reduction (int): In place of states the side width is the output's / ``reduction``, of the
            pair that of the decoder. Defaults to 2.
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
        decoder (str): ``'frozen'`` (default): the decoder reads what the side network gives; or
            ``'side'``, the pair.
    """

    side_dim: int | None = None
    reduction: int = 2
    taps: Iterable[int] | str | Mapping[str, Iterable[int] | str | None] | None = None
    confidence: str = "gate"
    identity: bool = True
    start: str = "auto"
    tower_dropout: bool = False
    autocast: bool = True
    decoder: str = "frozen"

    def __post_init__(self) -> None:
        object.__setattr__(self, "taps", _plain(self.taps))
        check_choice(self.confidence, ("gate", "uniform"), "adapter.confidence")
        check_choice(self.start, STARTS, "adapter.start")
        check_choice(self.decoder, DECODERS, "adapter.decoder")
        for name in ("side_dim", "reduction"):
            if getattr(self, name) is not None or name == "reduction":
                check_int(getattr(self, name), 1, f"adapter.{name}")


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
    - With ``decoder='side'`` MDETR's pair in its place: an encoder side beside those states, which
      the frozen decoder goes on reading, and a decoder side in place of the decoder's own, in the
      causal form, whose taps read the encoder side's output. No gradient enters any tower.

    Beside a convolution network, whose layers are stages and leave maps, the form is that of VSE's
    image side: maps are brought to the last one's grid first, and norms are batch norms.

    Args:
        places (Places): The model's sites.
        **options: Those of :class:`UniPTOptions`.

    Raises:
        ValueError: If an option is outside its set, or nothing in the model reads it.
    """

    Options = UniPTOptions

    def __init__(self, places: Places, **options: Any) -> None:
        chosen = UniPTOptions(**options)
        super().__init__(places, asdict(chosen))
        taps, side_dim, decoder = chosen.taps, chosen.side_dim, chosen.decoder
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
        if decoder == "side" and (self.embedded or "decoder" not in roles):
            raise ValueError(
                "adapter.decoder='side' is a pair of an encoder and a decoder that reads it, as in "
                f"VQA, captioning and text to text; this model has the roles {roles}."
            )
        # Whose states are read, and who reads them.
        self.pair = (replaced[0], "decoder") if decoder == "side" else ()
        self.tapped = (*self.embedded, *(self.pair or replaced))
        if isinstance(taps, Mapping) and set(taps) - set(self.tapped):
            raise ValueError(
                f"adapter.taps={self.options['taps']!r}: the roles that are read are "
                f"{list(self.tapped)}."
            )
        self.tower_dropout, self.autocast = chosen.tower_dropout, chosen.autocast
        # Taps of an embedded role's run, until its term is asked for.
        self._left: dict[str, Taps] = {}
        self.sides: Any = nn.ModuleDict()
        for role in self.embedded:
            self.sides[role] = self._beside_embedding(role)
        if self.pair:
            self.sides.update({role: self._of_pair(role) for role in self.pair})
        for role in () if self.pair else replaced:
            self.sides[role] = self._in_place(role)

    def _beside_embedding(self, role: str) -> Beside:
        """The CLIP4Clip form; the head adds the term to its embedding."""
        dim, maps = self.places.embeddings[role], role in self.places.maps
        chosen = self._chosen(role, self.options["taps"])
        options = {
            **PRESETS["clip4clip_image"],
            **self._common(role, chosen),
            "guide_dim": dim,
            "out_dim": dim,
            "side_dim": self.options["side_dim"] or dim,
            # No place of a map stands for the image.
            "residual": "index" if self.options["identity"] and not maps else "none",
            "out_residual": False,
            # Both projections are frozen.
            "zero_up": self.options["start"] != "published",
        }
        return Beside(chosen, **options)

    def _in_place(self, role: str) -> Beside:
        """The CLIP-ViL or VSE form."""
        own = self.places.widths(role)[-1]
        width = self.places.pooled.get(role, own)
        starts = self._start(role)
        if starts["out_residual"] and width != own:
            raise ValueError(
                f"adapter.start={self.options['start']!r} adds to the frozen states of {role}, "
                f"{own} wide, and those that are compared are {width} wide: leave it at 'auto'."
            )
        form = "vse_text" if role in self.places.pooled else "clip_vil"
        form = "vse_image" if role in self.places.maps else form
        return self._guided(role, form, out_dim=width, **self._narrow(width), **starts)

    def _of_pair(self, role: str) -> Beside:
        """MDETR's form of an encoder or a decoder; both are as wide as the decoder says."""
        width = self.places.widths("decoder")[-1]
        if role != "decoder":
            return self._guided(role, "mdetr_encoder", **self._narrow(width))
        options: dict[str, Any] = {**self._narrow(width), "out_dim": width, **self._start(role)}
        # There is one output, and a word must not see those behind it.
        return self._guided(role, "mdetr_decoder", every_tap=False, causal=True, **options)

    def _guided(self, role: str, preset: str, **options: Any) -> Beside:
        """A side network in place of states; what the tower gave is the guide, not a tap."""
        widths = self.places.widths(role)
        chosen = [tap for tap in self._chosen(role, self.options["taps"]) if tap < len(widths)]
        if not chosen:
            raise ValueError(
                f"adapter.taps={self.options['taps']!r} leaves no tap beside the guide, the last "
                f"layer of {role}: name one of the layers before."
            )
        residual = "identity" if self.options["identity"] else "none"
        own = {**self._common(role, chosen), "guide_dim": widths[-1], "residual": residual}
        return Beside(chosen, **{**PRESETS[preset], **own, **options})

    def _narrow(self, width: int) -> dict[str, int]:
        """The side width beside states of a width."""
        side_dim, rest = divmod(width, self.options["reduction"])
        if rest:
            raise ValueError(
                f"adapter.reduction={self.options['reduction']} does not divide the width "
                f"{width} of the states."
            )
        return {"side_dim": side_dim}

    def _start(self, role: str) -> dict[str, bool]:
        """Whether the output is the frozen one plus a term that starts at zero."""
        start = self.options["start"]
        keeps = start == "frozen" or (start == "auto" and role in self.places.frozen)
        return {"out_residual": keeps, "zero_up": keeps}

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
        """The frozen states of an embedded role, what takes their place of another one.

        Of the encoder of a pair both, (B, L, W + h): a decoder reads the first ones, its side
        network the others.
        """
        taps = call.taps()
        if role in self.embedded:
            self._left[role] = taps
            return taps.out
        states = self._read(role, taps.out, taps, call.reads() if role in self.pair[1:] else None)
        return torch.cat((taps.out, states), -1) if role in self.pair[:1] else states

    def reads(self, role: str) -> list[int]:
        """See :meth:`Adapter.reads`."""
        return list(self.sides[role].chosen)

    def term(self, role: str, embedding: torch.Tensor) -> torch.Tensor:
        """``U(relu(F))`` of embeddings (B, E); see :meth:`Adapter.term`."""
        return self._read(role, embedding, self._left.pop(role))

    def _read(
        self, role: str, guide: torch.Tensor, taps: Taps, read: Read | None = None
    ) -> torch.Tensor:
        side: Any = self.sides[role]
        device = guide.device.type
        if self.autocast or not torch.is_autocast_enabled(device):
            return side.read(guide, taps, read)
        with torch.autocast(device, enabled=False):
            return side.read(at_least_float32(guide), taps, read)

    def normalise(self, option: str, value: Any) -> Any:
        """Taps as their numbers; see :meth:`Adapter.normalise`."""
        value = super().normalise(option, value)
        if option == "taps":
            return [self._chosen(role, value) for role in self.tapped]
        return value
