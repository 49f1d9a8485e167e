"""UniAdapter: bottlenecks for three modalities that share a projection (paper section 3.4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS

from ..sites import Places, Slot
from .base import Adapter, parse_layers
from .earlier import obsolete_names, translate_options
from .layer import LayerAdapter, LowRankPair
from .uniadapter_options import TOWERS, UniAdapterOptions


@MODELS.register_module()
class UniAdapter(Adapter):
    """One adapter a layer index for the visual, textual and cross-modal use of that layer.

    Sharing (paper tables 3 and 12) is among the modalities of one layer index and of one width:
    beside a ViT-L (24 x 1024) the visual layers keep projections of their own, and the textual and
    the cross-modal use share theirs. With a shared up-projection the textual branch of the
    cross-modal use is that same tensor once more.

    Args:
        places (Places): The model's sites.
        bottleneck (int): Width r. Defaults to 512.
        **options: Those of :class:`UniAdapterOptions`.

    Raises:
        ValueError: If an option is outside its set, options contradict one another, or modules
            would be created that this model never runs.
    """

    Options = UniAdapterOptions

    def __init__(self, places: Places, bottleneck: int = 512, **options: Any) -> None:
        chosen = UniAdapterOptions(bottleneck, **options)
        super().__init__(places, asdict(chosen))
        self._chose = chosen
        towers = self.options["towers"]
        # A captioner's fusion is its decoder: it has no multimodal encoder.
        fusion = ("fusion.after_cross", "decoder.after_cross")
        crossed = places.of(*fusion)
        self._groups = {
            "visual": places.of("visual.after_self"),
            # Where no text runs alone (ALBEF's upper layers), the textual adapter is what the
            # cross-modal use has of it.
            "text": {**crossed, **places.of("text.after_self")},
            "cross": crossed,
        }
        missing = [tower for tower in towers if not self._groups[tower]]
        if missing:
            raise ValueError(
                f"adapter.towers names {missing}, which this model does not have: its sites are "
                f"{sorted(places.slots)}. Take them out of adapter.towers={towers}."
            )
        decoder_slots = places.of("decoder.after_cross") if "cross" in towers else {}
        groups = {tower: self._groups[tower] for tower in towers}
        self._deepest = depth = 1 + max(chain(decoder_slots, *groups.values()), default=-1)
        self._chosen = parse_layers(chosen.layers, depth, "adapter.layers")
        self._sharing_layers = set(
            parse_layers(chosen.shared_layers, depth, "adapter.shared_layers")
        )
        self._check_runs()
        residual = "cross" in towers and chosen.query_residual == "shared"
        self._idle = self._idle_uses(residual, bool(decoder_slots))
        self.layers = self._build(groups, self._idle["layers"])
        self.decoder_layers: nn.ModuleDict | None = None
        if chosen.decoder == "own" and decoder_slots:
            # A decoder has no textual run of its own.
            uses = ("text", "cross") if residual or chosen.textual_branch else ("cross",)
            self.decoder_layers = self._build(
                {use: decoder_slots for use in uses}, self._idle["decoder_layers"]
            )
        self.kv = self._build_kv("fusion.kv")
        self.decoder_kv = self._build_kv("decoder.kv")
        if towers and chosen.layers is not None and not any(True for _ in self.parameters()):
            raise ValueError(
                f"adapter.layers={chosen.layers!r} would do nothing, since this model runs no "
                f"adapter of adapter.towers={list(towers)} there: choose layers up to "
                f"{self._deepest_built()}, or None for all."
            )
        self._fill()

    def normalise(self, option: str, value: Any) -> Any:
        """Layers as their numbers and towers in one order; see :meth:`Adapter.normalise`."""
        value = super().normalise(option, value)
        if option == "towers":
            towers = [value] if isinstance(value, str) else value
            return sorted(towers, key=TOWERS.index)
        if option in ("layers", "shared_layers"):
            indices = parse_layers(value, self._deepest, f"adapter.{option}")
            # Whether a layer that is not adapted would share makes no difference.
            return [index + 1 for index in indices if index in self._chosen or option == "layers"]
        return value

    def translate(self, options: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
        """See :func:`.earlier.translate_options`; options that nothing read count as not given."""
        defaults = self.defaults()
        if isinstance(options.get("towers", defaults["towers"]), list | tuple):
            unread = self._unread({**defaults, **options})
            options = {**options, **{name: defaults[name] for name in unread}}
        return translate_options(options, names, self._deepest_built(), self._idle["layers"])

    def obsolete(self, tensors: Mapping[str, torch.Tensor]) -> set[str]:
        """See :func:`.earlier.obsolete_names`."""
        decoder = set() if self.decoder_layers is None else set(self.decoder_layers)
        layers = {"layers": set(self.layers), "decoder_layers": decoder}
        return obsolete_names(tensors, self._idle, layers)

    def _unread(self, options: Mapping[str, Any]) -> dict[str, str]:
        """Options that ask for what this model has no use for, with the reasons."""
        places, found = self.places, {}
        crossed = "cross" in options["towers"]
        left_out = f"adapter.towers={list(options['towers'])} leaves out 'cross'"
        if options["decoder"] == "own" and not (crossed and places.of("decoder.after_cross")):
            found["decoder"] = left_out if not crossed else "this model has no decoder"
        if options["query_residual"] == "own" and not crossed:
            found["query_residual"] = left_out
        if options["kv_rank"] and not places.of("fusion.kv", "decoder.kv"):
            found["kv_rank"] = "this model has no cross-attention"
        if options["shared_layers"] is not None and options["sharing"] == "none":
            found["shared_layers"] = "adapter.sharing='none'"
        return found

    def _check_runs(self) -> None:
        """Refuse options whose modules this model would create and never run."""
        options, places = self.options, self.places
        for name, reason in self._unread(options).items():
            raise ValueError(
                f"adapter.{name}={options[name]!r} would do nothing, since {reason}: take it out, "
                f"or write {self.defaults()[name]!r}."
            )
        towers, crossed = options["towers"], "cross" in options["towers"]
        read = crossed and (options["query_residual"] == "shared" or options["textual_branch"])
        if "text" in towers and not (places.of("text.after_self") or read):
            raise ValueError(
                f"adapter.towers={towers} names 'text', but nothing would run the textual adapter: "
                "this model encodes no text by itself (VQA and captioning don't). Leave 'text' "
                "out, or have 'cross' use it: adapter.query_residual='shared' or "
                "adapter.textual_branch=True. If it is the only one, set model.adapter=None, or "
                "adapter.towers=[] where adapter.kv_rank is above 0."
            )
        encoder, decoder = places.of("fusion.after_cross"), places.of("decoder.after_cross")
        if options["decoder"] == "own" or not (crossed and encoder and decoder):
            return
        left = [i + 1 for i in self._chosen if i in decoder and i not in encoder]
        widths = [next(iter(group.values())).dim for group in (encoder, decoder)]
        if left or widths[0] != widths[1]:
            raise ValueError(
                f"adapter.decoder='shared' gives the decoder ({len(decoder)} layers of width "
                f"{widths[1]}) the adapters of the text tower ({len(encoder)} layers of width "
                f"{widths[0]}), which has none for "
                f"{f'its layers {left}' if left else 'that width'}: set adapter.decoder='own', or "
                "choose fitting adapter.layers, text and decoder."
            )

    def _idle_uses(self, residual: bool, decoder: bool) -> dict[str, set[str]]:
        """By group of layers, the uses that this model never runs.

        Args:
            residual (bool): Whether the textual adapter is the query residual.
            decoder (bool): Whether there is a decoder that is adapted.
        """
        idle: dict[str, set[str]] = {"layers": set(), "decoder_layers": set()}
        if not (residual or self.places.of("text.after_self")):
            idle["layers"] = {"text"}
        encoder, own = self.places.of("fusion.after_cross"), self.options["decoder"] == "own"
        if own and not encoder and self.places.of("decoder.after_cross"):
            # A captioner's decoder apart from its visual tower.
            idle["layers"] = {"text", "cross", "query"}
        if not residual:
            idle["decoder_layers"] = {"text"} if decoder else set(TOWERS)
        return idle

    def _uses(
        self, index: int, groups: dict[str, dict[int, Slot]], idle: set[str]
    ) -> tuple[dict[str, int], set[str]]:
        """Widths of the uses of a layer, from 0, and those of them that nothing runs."""
        widths = {use: group[index].dim for use, group in groups.items() if index in group}
        if "cross" in widths and self._chose.query_residual == "own":
            widths["query"] = widths["cross"]
        residual = "cross" in groups and self._chose.query_residual == "shared"
        alone = residual or index in self.places.of("text.after_self")
        return widths, idle if alone else {*idle, "text"}

    def _deepest_built(self) -> int:
        """Number of the last layer that ``layers=None`` makes an adapter for in this model."""
        decoder = () if self.decoder_layers is None else self.places.of("decoder.after_cross")
        groups = {tower: self._groups[tower] for tower in self.options["towers"]}
        built = [*decoder]
        for index in range(self._deepest):
            widths, idle = self._uses(index, groups, self._idle["layers"])
            built += [index] if set(widths) - idle else []
        return 1 + max(built, default=-1)

    def _build(self, groups: dict[str, dict[int, Slot]], idle: set[str]) -> nn.ModuleDict:
        """Create the adapters of the chosen layers, keyed by the layer's index from 0."""
        options, layers = self._chose, nn.ModuleDict()
        by_width = len({slot.dim for group in groups.values() for slot in group.values()}) > 1
        for index in self._chosen:
            widths, here = self._uses(index, groups, idle)
            if not set(widths) - here:
                continue
            shares = index in self._sharing_layers
            layers[str(index)] = LayerAdapter(widths, options, shares, here, by_width)
        return layers

    def _build_kv(self, name: str) -> LowRankPair | None:
        slots = self.places.of(name)
        if not slots or not self.options["kv_rank"]:
            return None
        return LowRankPair(slots[0].dim, slots[0].out_dim, self.options["kv_rank"])

    def _fill_site(self, address: str, layers: nn.ModuleDict, use: str) -> None:
        for index, slot in self.places.of(address).items():
            if str(index) in layers:
                slot.fill(partial(layers[str(index)], use=use))

    def _fill(self) -> None:
        """Put every use into its sites."""
        towers, residual = self.options["towers"], self.options["query_residual"]
        decoder = self.layers if self.decoder_layers is None else self.decoder_layers
        for tower in ("visual", "text"):
            if tower in towers:
                self._fill_site(f"{tower}.after_self", self.layers, tower)
        if "cross" in towers:
            for role, layers in (("fusion", self.layers), ("decoder", decoder)):
                self._fill_site(f"{role}.after_cross", layers, "cross")
                if residual != "off":
                    use = "text" if residual == "shared" else "query"
                    self._fill_site(f"{role}.after_self", layers, use)
        for address, pair in (("fusion.kv", self.kv), ("decoder.kv", self.decoder_kv)):
            if pair is not None:
                self.places.of(address)[0].fill(pair)

    def former_names(self) -> dict[str, str]:
        """See :meth:`Adapter.former_names`: a width is in the names of layers of one width too."""
        found = {
            f"{group}.{index}.{former}": f"{group}.{index}.{name}"
            for group, layers in (("layers", self.layers), ("decoder_layers", self.decoder_layers))
            for index, layer in (layers or {}).items()
            for former, name in layer.former_names().items()  # type: ignore[operator]
        }
        widths, text = (
            {slot.dim for tower in towers for slot in self._groups[tower].values()}
            for towers in (self.options["towers"], ("text",))
        )
        if not self.places.of("text.after_self") and len(widths) == 1 and widths != text:
            # Beside a textual adapter that nothing ran it was one projection of two widths.
            for name, _ in self.named_parameters():
                found[name.replace(".shared.", f".shared{min(widths)}.")] = name
        return {former: name for former, name in found.items() if former != name}

    @classmethod
    def adds_nothing(cls, tensors: Mapping[str, torch.Tensor]) -> bool:
        """See :meth:`Adapter.adds_nothing`: every term ends in an up-projection and a norm."""
        last = [name for name in tensors if ".up." in name or name.endswith("norm_cross.bias")]
        return bool(last) and not any(bool(tensors[name].any()) for name in last)

    def components(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of the bottlenecks (``adapter``) and of the key/value pairs (``kv_pair``)."""
        pairs = [pair for pair in (self.kv, self.decoder_kv) if pair is not None]
        kv = [parameter for pair in pairs for parameter in pair.parameters()]
        known = {id(parameter) for parameter in kv}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return {"adapter": rest, "kv_pair": kv} if kv else {"adapter": rest}
