"""MDETR's checkpoints: pre-trained ones, and those of UniPT's authors on MDETR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from uniadapter.utils.json_files import brief
from uniadapter.utils.tensors import why_unread

from ..files import read
from ..foreign_file import load_foreign_file
from .fused import join_fused, split_fused
from .keys import Layout, Pair, State

_AVERAGED = "model_ema"
_ATTENTION = ("q", "k", "v")


def _attention(theirs: str, ours: str) -> list[Pair]:
    """An attention whose projections of queries, keys and values are one matrix there."""
    fused = [
        Pair(f"{theirs}.in_proj_{kind}[{letter}]", f"{ours}.{letter}_proj.{kind}")
        for letter in _ATTENTION
        for kind in ("weight", "bias")
    ]
    return [*fused, Pair(f"{theirs}.out_proj.{{p}}", f"{ours}.o_proj.{{p}}")]


def _layer(run: str, norms: dict[str, str]) -> list[Pair]:
    theirs, ours = f"transformer.{run}.layers.{{i}}", f"detr.{run}.layers.{{i}}"
    plain = {"linear1": "mlp.fc1", "linear2": "mlp.fc2", **norms}
    return [
        *_attention(f"{theirs}.self_attn", f"{ours}.self_attn"),
        *(Pair(f"{theirs}.{a}.{{p}}", f"{ours}.{b}.{{p}}") for a, b in plain.items()),
    ]


def _side(run: str) -> list[Pair]:
    """The side network beside one of the two."""
    ours = f"adapter.sides.{run}"
    names = {
        f"side_downsample0_{run}.0": "down_guide.linear",
        f"side_downsample0_{run}.1": "down_guide.norm",
        f"side_downsamples_{run}.{{i}}.0": "down.{i}.linear",
        f"side_downsamples_{run}.{{i}}.1": "down.{i}.norm",
        **{f"side_projection_{run}.{part}": f"projection.{part}" for part in (0, 2, 3)},
        f"side_gate_layer_{run}": "gate",
    }
    return [Pair(f"transformer.{a}.{{p}}", f"{ours}.{b}.{{p}}") for a, b in names.items()]


_CROSS = "transformer.decoder.layers.{i}.cross_attn_image"
_JOINED = {
    "side_projection_crosser.{i}.0": "crosser.{i}.linear",
    "side_projection_crosser.{i}.1": "crosser.{i}.norm",
    "side_final_upsample.1": "up.linear",
    "side_final_upsample.2": "up.norm",
}
_HEADS = (
    *("class_embed", "bbox_embed.layers.{i}"),
    *(f"contrastive_align_projection_{side}" for side in ("image", "text")),
)
MDETR = Layout(
    "mdetr",
    (
        Pair("backbone.0.body.{resnet}", "visual.{resnet}"),
        Pair("input_proj.{p}", "detr.input_proj.{p}"),
        Pair("query_embed.weight", "detr.query_embed.weight"),
        Pair("transformer.text_encoder.{roberta}", "text.model.{roberta}"),
        Pair("transformer.resizer.fc.{p}", "detr.resizer.fc.{p}"),
        Pair("transformer.resizer.layer_norm.{p}", "detr.resizer.layer_norm.{p}"),
        *_layer("encoder", {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}),
        *_layer(
            "decoder",
            {
                "norm1": "self_attn_layer_norm",
                "norm3": "encoder_attn_layer_norm",
                "norm4": "final_layer_norm",
            },
        ),
        *_attention(_CROSS, "detr.decoder.layers.{i}.encoder_attn"),
        Pair("transformer.decoder.norm.{p}", "detr.decoder.layernorm.{p}"),
        *_side("encoder"),
        *_side("decoder"),
        *(
            Pair(f"transformer.{a}.{{p}}", f"adapter.sides.decoder.{b}.{{p}}")
            for a, b in _JOINED.items()
        ),
        *(Pair(f"{name}.{{p}}", f"{name}.{{p}}") for name in _HEADS),
    ),
    (
        (r"transformer\.text_encoder\.pooler\..*", "RoBERTa's pooling layer, which nothing reads"),
        (r"transformer\.text_encoder\.embeddings\.position_ids", "the numbers 0, 1, 2 ..."),
        (r"backbone\.0\.body\..*\.num_batches_tracked", "a counter that constant norms have not"),
    ),
)


def read_mdetr(path: str | Path, model: Any) -> tuple[State, list[str]]:
    """Read a file of MDETR, or of UniPT on it: the averages where it has them.

    Args:
        path (str | Path): ``{"model", "model_ema", ...}``; ``BEST_checkpoint.pth`` has no averages.
        model (VisionLanguageModel): Not used.

    Returns:
        tuple: Tensors by MDETR's name, fused projections in three; and notes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or holds no tensors.
    """
    path = Path(path)
    whole = load_foreign_file(path) if path.is_file() and path.suffix != ".safetensors" else None
    averaged = whole.get(_AVERAGED) if isinstance(whole, dict) else None
    if isinstance(whole, dict) and isinstance(averaged, dict):
        beside = sorted(str(key) for key in whole if key != _AVERAGED)
        notes = [f"the averages ({_AVERAGED!r}) are read; beside them, not used: {beside}"]
        return split_fused(check_tensors(path, averaged), path), notes
    content = read(path)
    notes = [f"beside the weights, not used: {k} ({what})" for k, what in content.left.items()]
    return split_fused(content.tensors, path), notes


def check_tensors(path: Path, state: dict[str, Any]) -> State:
    """A state dict without the prefix of a wrapper.

    Raises:
        ValueError: If something in it is no tensor.
    """
    wrong = [
        name
        for name, tensor in state.items()
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or why_unread(tensor)
    ]
    if wrong or not state:
        raise ValueError(f"{path}: {_AVERAGED!r} holds no tensors but {brief(wrong[:3])}.")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def export_mdetr(state: State, **_: Any) -> tuple[State, dict[str, str]]:
    """Write an own state dict in MDETR's names.

    Args:
        state (dict[str, Tensor]): Towers, heads and side networks by our name.

    Returns:
        tuple: Tensors by MDETR's name, and our names to those.

    Raises:
        ValueError: If a projection of queries, keys or values is there without the other two.
    """
    named = {ours: name for ours in state for name in MDETR.to_theirs(ours)}
    return join_fused({name: state[ours] for ours, name in named.items()}, named)
