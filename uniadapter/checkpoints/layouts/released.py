"""Released UniAdapter checkpoints: BLIP's layout with adapters under up to five names."""

from __future__ import annotations

from typing import Any

from .keys import Layout, Pair, State
from .official import MOMENTUM_REASON, OFFICIAL, export_official

_LAYER = {
    "adapter_layer_norm_before": "norm_before.shared",
    "adapter_layer_norm_cross_modal": "norm_cross",
    "down_proj": "down.shared",
    "up_proj": "up.text",
    "multi_up_proj": "up.cross",
    "visual_up_proj": "up.visual",
}
_PLACES = (
    "adapters.{i}",
    "visual_encoder.adapters.{i}",
    "visual_encoder.blocks.{i}.adapter",
    "text_encoder.encoder.layer.{i}.adapter",
)
_DECODER_PLACE = "text_decoder.bert.encoder.layer.{i}.adapter"
_PAIRS_OF = {
    "text_encoder.encoder": "adapter.kv",
    "text_decoder.bert.encoder": "adapter.decoder_kv",
}
_UNUSED = "adapters_dec."


def _layer_pairs(places: tuple[str, ...]) -> tuple[Pair, ...]:
    return tuple(
        Pair(f"{place}.{theirs}.{{p}}", f"adapter.layers.{{i}}.{ours}.{{p}}")
        for place in places
        for theirs, ours in _LAYER.items()
    )


def _kv_pairs() -> tuple[Pair, ...]:
    pairs = []
    for theirs, ours in _PAIRS_OF.items():
        for use in ("key", "value"):
            body = f"{theirs}.video_{use}_adapter"
            pairs.append(Pair(f"{body}.scale", f"{ours}.{use}_scale"))
            pairs.append(Pair(f"{body}.down_proj.{{p}}", f"{ours}.{use}.down.{{p}}"))
            pairs.append(Pair(f"{body}.up_proj.{{p}}", f"{ours}.{use}.up.{{p}}"))
    return tuple(pairs)


def _layout(places: tuple[str, ...]) -> Layout:
    left = (
        *OFFICIAL.left,
        (r"adapters_m\..+", MOMENTUM_REASON),
        (
            r"adapters_dec\..+",
            "second set of adapters that no layer of the released model uses",
        ),
    )
    return Layout("uniadapter", (*OFFICIAL.pairs, *_layer_pairs(places), *_kv_pairs()), left)


RELEASED = _layout((*_PLACES, _DECODER_PLACE))
_WITHOUT_DECODER = _layout(_PLACES)


def export_released(
    state: State,
    momentum: State | None = None,
    queue: State | None = None,
    queue_size: int = 57600,
    **_: Any,
) -> tuple[State, dict[str, str]]:
    """Write an own state dict in the released layout, adapters under all their names.

    Args:
        state (dict[str, Tensor]): Towers, heads, temperature and adapter by our name.
        momentum (dict, optional): Averages by our name.
        queue (dict, optional): Our queue.
        queue_size (int): Entries of a queue that starts empty. Defaults to 57600.

    Returns:
        tuple: Tensors by released name, and our names to released ones.
    """
    has_decoder = any(name.startswith("decoder.") for name in state)
    layout = RELEASED if has_decoder else _WITHOUT_DECODER
    released, used = export_official(state, layout, momentum, queue, queue_size)
    if has_decoder:
        # The released VQA model expects its unused second set when it loads strictly.
        copies = {k: t for k, t in released.items() if k.startswith("adapters.")}
        released.update({_UNUSED + k.split(".", 1)[1]: t for k, t in copies.items()})
    return released, used
