"""mmpretrain's BLIP checkpoints, read and written: retrieval, VQA and captioning."""

from __future__ import annotations

from typing import Any

from .keys import Layout, Pair, State
from .official import (
    MOMENTUM_REASON,
    POSITION_IDS,
    QUEUE_REASON,
    official_queue,
    position_ids,
    rename_all,
    task_of,
    tied_head,
)

_DECODERS = ("vqa_head.decoder", "seq_gen_head.decoder")


def _decoder_pairs() -> tuple[Pair, ...]:
    pairs: list[Pair] = []
    for prefix in _DECODERS:
        pairs.append(Pair(f"{prefix}.bert.{{bert}}", "decoder.bert.{bert}"))
        pairs.append(Pair(f"{prefix}.{{lm}}", "decoder.{lm}"))
        pairs.extend(tied_head(prefix))
    return tuple(pairs)


MMPRETRAIN = Layout(
    "mmpretrain",
    (
        Pair("vision_backbone.{vit}", "visual.{vit}"),
        Pair("visual_encoder.{vit}", "visual.{vit}"),
        Pair("text_backbone.{bert}", "text.{bert}"),
        Pair("multimodal_backbone.{bert}", "text.{bert}"),
        *_decoder_pairs(),
        Pair("vision_neck.{p}", "vision_proj.{p}"),
        Pair("text_neck.{p}", "text_proj.{p}"),
        Pair("multimodal_head.fc.{p}", "itm_head.{p}"),
        Pair("temp", "temp"),
        Pair("head.temp", "temp"),
    ),
    (
        POSITION_IDS,
        (r"head\.(?:(?:image|text|idx)_queue|queue_ptr)", QUEUE_REASON),
        (r"(?:vision_backbone|text_backbone|vision_neck|text_neck)_m\..+", MOMENTUM_REASON),
    ),
)

# Beginnings of the names of each model; others are another model's names of the same tensors.
_OF_TASK = {
    "retrieval": (
        *("vision_backbone.", "text_backbone.", "vision_neck.", "text_neck."),
        *("multimodal_head.", "temp", "head."),
    ),
    "vqa": ("vision_backbone.", "multimodal_backbone.", "vqa_head."),
    "caption": ("visual_encoder.", "seq_gen_head."),
}
# What mmpretrain calls BLIP's text towers in each.
_TEXT_TOWERS = {
    "retrieval": {"text_encoder.": "text_backbone."},
    "vqa": {"text_encoder.": "multimodal_backbone.", "text_decoder.": "vqa_head.decoder."},
    "caption": {"text_decoder.": "seq_gen_head.decoder."},
}
_AVERAGED = ("vision_backbone", "text_backbone", "vision_neck", "text_neck")


def _named(state: State, task: str) -> tuple[State, dict[str, str]]:
    """Tensors under the names of one of mmpretrain's models, and our names to those."""
    named, _ = rename_all(state, MMPRETRAIN)
    named = {name: tensor for name, tensor in named.items() if name.startswith(_OF_TASK[task])}
    for name, ids in position_ids(state).items():
        for theirs, ours in _TEXT_TOWERS[task].items():
            if name.startswith(theirs):
                named[ours + name.removeprefix(theirs)] = ids
    found = {ours: [n for n in MMPRETRAIN.to_theirs(ours) if n in named] for ours in state}
    return named, {ours: names[0] for ours, names in found.items() if names}


def export_mmpretrain(
    state: State,
    momentum: State | None = None,
    queue: State | None = None,
    queue_size: int = 57600,
    **_: Any,
) -> tuple[State, dict[str, str]]:
    """Write an own state dict in the names of mmpretrain's BLIP models.

    A retrieval model gets momentum copies and a queue, as in mmpretrain's files.

    Args:
        state (dict[str, Tensor]): Towers, heads and temperature by our name.
        momentum (dict, optional): Averages by our name; tensors without one are their own average.
        queue (dict, optional): See :func:`official_queue`.
        queue_size (int): Entries of a queue that starts empty. Defaults to 57600, as BLIP.

    Returns:
        tuple: Tensors by mmpretrain's name, and our names to those.

    Raises:
        ValueError: If no model of mmpretrain has just these parts.
    """
    task = task_of(state, "mmpretrain")
    named, used = _named(state, task)
    if task == "retrieval":
        averaged = _named({**state, **(momentum or {})}, task)[0]
        for name, tensor in averaged.items():
            part = name.split(".")[0]
            if part in _AVERAGED:
                named[f"{part}_m{name.removeprefix(part)}"] = tensor
        dim = state["vision_proj.weight"].shape[0]
        for name, tensor in official_queue(queue, dim, queue_size, has_ids=True).items():
            named[f"head.{'queue_ptr' if name == 'ptr_queue' else name}"] = tensor
    return named, used
