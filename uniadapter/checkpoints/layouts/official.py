"""Official BLIP checkpoints: pre-trained, retrieval, VQA and captioning (.pth)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from .keys import Layout, Pair, State

VISUAL = (
    Pair("visual_encoder.cls_token", "visual.cls_token"),
    Pair("visual_encoder.pos_embed", "visual.pos_embed"),
    Pair("visual_encoder.patch_embed.proj.{p}", "visual.patch_embed.projection.{p}"),
    Pair("visual_encoder.blocks.{i}.norm1.{p}", "visual.layers.{i}.ln1.{p}"),
    Pair("visual_encoder.blocks.{i}.attn.qkv.{p}", "visual.layers.{i}.attn.qkv.{p}"),
    Pair("visual_encoder.blocks.{i}.attn.proj.{p}", "visual.layers.{i}.attn.proj.{p}"),
    Pair("visual_encoder.blocks.{i}.norm2.{p}", "visual.layers.{i}.ln2.{p}"),
    Pair("visual_encoder.blocks.{i}.mlp.fc1.{p}", "visual.layers.{i}.ffn.layers.0.0.{p}"),
    Pair("visual_encoder.blocks.{i}.mlp.fc2.{p}", "visual.layers.{i}.ffn.layers.1.{p}"),
    Pair("visual_encoder.norm.{p}", "visual.ln1.{p}"),
)
TEXT = (
    Pair("text_encoder.{bert}", "text.{bert}"),
    Pair("text_decoder.bert.{bert}", "decoder.bert.{bert}"),
    Pair("text_decoder.{lm}", "decoder.{lm}"),
)


def tied_head(prefix: str) -> tuple[Pair, Pair]:
    """Second names of the decoder's embedding matrix and of its output bias.

    BLIP's pre-training ties the decoder's embeddings to the text encoder's after it tied them to
    the output matrix, so the two may differ in its file. VQA and captioning tie them again, and
    the output matrix is loaded last.

    Args:
        prefix (str): What the decoder's names begin with in the layout.
    """
    return (
        Pair(
            f"{prefix}.cls.predictions.decoder.weight",
            "decoder.bert.embeddings.word_embeddings.weight",
            wins=True,
        ),
        Pair(f"{prefix}.cls.predictions.decoder.bias", "decoder.cls.predictions.bias", wins=True),
    )


HEADS = (
    Pair("vision_proj.{p}", "vision_proj.{p}"),
    Pair("text_proj.{p}", "text_proj.{p}"),
    Pair("itm_head.{p}", "itm_head.{p}"),
)
POSITION_IDS = (r"(?:.+\.)?embeddings\.position_ids", "position_ids: the numbers 0, 1, 2 ...")
QUEUE_REASON = "feature queue: training state, it fills again"
MOMENTUM_REASON = "momentum copies: training state, the averages start from the loaded weights"

OFFICIAL = Layout(
    "blip",
    (*VISUAL, *TEXT, *tied_head("text_decoder"), *HEADS, Pair("temp", "temp")),
    (
        POSITION_IDS,
        (r"(?:image|text|idx)_queue|ptr_queue|queue_ptr", QUEUE_REASON),
        (r"(?:visual_encoder|text_encoder|vision_proj|text_proj)_m\..+", MOMENTUM_REASON),
    ),
)

# Parts of which BLIP's contrastive models keep momentum copies, named with a trailing _m.
_AVERAGED = ("visual_encoder.", "text_encoder.", "vision_proj.", "text_proj.", "adapters.")
_TEXT_TOWERS = {"text.": "text_encoder.", "decoder.": "text_decoder.bert."}


def momentum_name(key: str) -> str | None:
    """Name of the momentum copy of an official key, or None if it has none."""
    if not key.startswith(_AVERAGED):
        return None
    part, rest = key.split(".", 1)
    return f"{part}_m.{rest}"


def position_ids(state: State) -> State:
    """The ``position_ids`` buffers of the text towers in ``state`` (our names)."""
    found = {}
    for ours, theirs in _TEXT_TOWERS.items():
        body = ours if ours == "text." else "decoder.bert."
        table = state.get(f"{body}embeddings.position_embeddings.weight")
        if table is not None:
            found[f"{theirs}embeddings.position_ids"] = torch.arange(table.shape[0])[None]
    return found


def official_queue(queue: State | None, dim: int, size: int, has_ids: bool) -> State:
    """Feature queue in the official layout, (E, Q).

    Args:
        queue (dict, optional): Our queue's ``visual``, ``text``, ``ids`` and ``ptr``. None starts
            an empty one as BLIP does: random unit vectors of id -100.
        dim (int): Width E.
        size (int): Entries Q of an empty queue.
        has_ids (bool): Retrieval's queue has ids; the pre-trained model's has not.
    """
    if queue is None:
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(2, size, dim, generator=generator)
        queue = {
            "visual": F.normalize(features[0], dim=-1),
            "text": F.normalize(features[1], dim=-1),
            "ids": torch.full((size,), -100),
            "ptr": torch.zeros((), dtype=torch.long),
        }
    official = {
        "image_queue": queue["visual"].t().contiguous(),
        "text_queue": queue["text"].t().contiguous(),
    }
    if has_ids:
        return {**official, "idx_queue": queue["ids"][None], "ptr_queue": queue["ptr"].view(1)}
    return {**official, "queue_ptr": queue["ptr"].view(1)}


def rename_all(state: State, layout: Layout) -> tuple[State, dict[str, str]]:
    """Write tensors under all their names in a layout.

    Args:
        state (dict[str, Tensor]): Tensors by our name.
        layout (Layout): Target.

    Returns:
        tuple: Tensors by foreign name, and our name to its first foreign one. Tensors the layout
        has no name for are absent from both.
    """
    official, used = {}, {}
    for ours, tensor in state.items():
        names = layout.to_theirs(ours)
        official.update(dict.fromkeys(names, tensor))
        if names:
            used[ours] = names[0]
    return official, used


def export_official(
    state: State,
    layout: Layout = OFFICIAL,
    momentum: State | None = None,
    queue: State | None = None,
    queue_size: int = 57600,
    **_: Any,
) -> tuple[State, dict[str, str]]:
    """Write an own state dict in BLIP's official layout; tensors are shared, not copied.

    A contrastive model (one with projections) gets momentum copies and a queue, as in BLIP's
    files; with a decoder besides it is the pre-trained model, whose queue has no ids.

    Args:
        state (dict[str, Tensor]): Towers, heads and temperature by our name.
        layout (Layout): The official layout, or one that adds to it.
        momentum (dict, optional): Averages by our name; tensors without one are their own average.
        queue (dict, optional): See :func:`official_queue`.
        queue_size (int): Entries of a queue that starts empty. Defaults to 57600, as BLIP.

    Returns:
        tuple: Tensors by official name, and our names to official ones.
    """
    official, used = rename_all(state, layout)
    official.update(position_ids(state))
    if "vision_proj.weight" in state:
        averaged, _ = rename_all({**state, **(momentum or {})}, layout)
        averaged.update(position_ids(state))
        for key, tensor in averaged.items():
            name = momentum_name(key)
            if name is not None:
                official[name] = tensor
        dim = state["vision_proj.weight"].shape[0]
        has_decoder = any(name.startswith("decoder.") for name in state)
        official.update(official_queue(queue, dim, queue_size, has_ids=not has_decoder))
    return official, used


def task_of(state: State, layout: str) -> str:
    """Which of BLIP's models for tasks has the parts of a state dict.

    Args:
        state (dict[str, Tensor]): Tensors by our name.
        layout (str): The layout that it is written in, for the error.

    Returns:
        str: ``'retrieval'``, ``'vqa'`` or ``'caption'``.

    Raises:
        ValueError: If none has.
    """
    parts = {name.split(".")[0] for name in state} - {"temp", "adapter"}
    for task, own in {
        "retrieval": {"visual", "text", "vision_proj", "text_proj", "itm_head"},
        "vqa": {"visual", "text", "decoder"},
        "caption": {"visual", "decoder"},
    }.items():
        if parts == own:
            return task
    raise ValueError(
        f"--to {layout} writes BLIP's models for retrieval, VQA and captioning, and none of them "
        f"consists of {sorted(parts)}: name the --config of such a model, which takes its part of "
        "a pre-trained file."
    )
