"""CLIP's checkpoints: the original's files and folders of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from uniadapter.utils.json_files import brief, parse_json
from uniadapter.utils.safe_io import what_it_is

from ..files import read
from ..torchscript import read_torchscript
from .fused import join_fused, split_fused
from .keys import Layout, Pair, State
from .shards import find_weights, read_weights

_QKV = "qkv"
_HALF = "the file's tensors of half precision are float32 from here on"
_COPY = "copy the folder again"


def _turn(matrix: torch.Tensor) -> torch.Tensor:
    """A projection that the original multiplies from the right, as a linear layer has it."""
    return matrix.t().contiguous()


def _original(theirs: str, ours: str) -> tuple[Pair, ...]:
    """Names of one tower's layers in the original."""
    block, layer = f"{theirs}transformer.resblocks.{{i}}", f"{ours}.model.encoder.layers.{{i}}"
    parts = {
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    fused = [
        Pair(f"{block}.attn.in_proj_{kind}[{letter}]", f"{layer}.self_attn.{letter}_proj.{kind}")
        for letter in _QKV
        for kind in ("weight", "bias")
    ]
    plain = [Pair(f"{block}.{a}.{{p}}", f"{layer}.{b}.{{p}}") for a, b in parts.items()]
    return (*fused, *plain)


CLIP = Layout(
    "clip",
    (
        Pair("visual.class_embedding", "visual.model.embeddings.class_embedding"),
        Pair("visual.positional_embedding", "visual.model.embeddings.position_embedding.weight"),
        Pair("visual.conv1.weight", "visual.model.embeddings.patch_embedding.weight"),
        Pair("visual.ln_pre.{p}", "visual.model.pre_layrnorm.{p}"),
        *_original("visual.", "visual"),
        Pair("visual.ln_post.{p}", "visual.model.post_layernorm.{p}"),
        Pair("visual.proj", "vision_proj.weight", read=_turn),
        Pair("token_embedding.weight", "text.model.embeddings.token_embedding.weight"),
        Pair("positional_embedding", "text.model.embeddings.position_embedding.weight"),
        *_original("", "text"),
        Pair("ln_final.{p}", "text.model.final_layer_norm.{p}"),
        Pair("text_projection", "text_proj.weight", read=_turn),
        Pair("logit_scale", "logit_scale"),
    ),
    (("input_resolution|context_length|vocab_size", "sizes, which the config has"),),
)


def _same_names(theirs: str, ours: str, *modules: str) -> tuple[Pair, ...]:
    """Names of one tower of transformers, which are ours behind the name of the tower."""
    layer = "encoder.layers.{i}"
    attention = [f"{layer}.self_attn.{part}_proj" for part in ("q", "k", "v", "out")]
    rest = [f"{layer}.{part}" for part in ("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2")]
    named = (*modules, *attention, *rest)
    return tuple(Pair(f"{theirs}.{name}.{{p}}", f"{ours}.model.{name}.{{p}}") for name in named)


CLIP_FOLDER = Layout(
    "clip-hf",
    (
        Pair("vision_model.embeddings.class_embedding", "visual.model.embeddings.class_embedding"),
        *_same_names(
            "vision_model",
            "visual",
            "embeddings.patch_embedding",
            "embeddings.position_embedding",
            "pre_layrnorm",
            "post_layernorm",
        ),
        *_same_names(
            "text_model",
            "text",
            "embeddings.token_embedding",
            "embeddings.position_embedding",
            "final_layer_norm",
        ),
        Pair("visual_projection.weight", "vision_proj.weight"),
        Pair("text_projection.weight", "text_proj.weight"),
        Pair("logit_scale", "logit_scale"),
    ),
    ((r"(?:vision|text)_model\.embeddings\.position_ids", "the numbers 0, 1, 2 ..."),),
)


def as_float32(state: State, notes: list[str]) -> State:
    """Tensors as float32; a note says where some were of half precision."""
    if any(tensor.dtype == torch.float16 for tensor in state.values()):
        notes.append(_HALF)
    return {n: t.float() if t.is_floating_point() else t for n, t in state.items()}


def _is_program(path: Path) -> bool:
    what = what_it_is(path) if path.is_file() else None
    return what is not None and "TorchScript" in what


def read_original(path: str | Path) -> tuple[State, list[str]]:
    """Read a file of the original: its TorchScript archive, none of which is run, or a state dict.

    Args:
        path (str | Path): The file.

    Returns:
        tuple: Tensors by the original's name, float32; and notes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or holds no tensors.
    """
    notes: list[str] = []
    if _is_program(Path(path)):
        state = read_torchscript(path)
    else:
        content = read(path)
        state = content.tensors
        notes = [f"beside the weights, not used: {k} ({what})" for k, what in content.left.items()]
    return as_float32(state, notes), notes


def read_clip(path: str | Path, model: Any) -> tuple[State, list[str]]:
    """Read a file of a CLIP with a ViT; see :func:`read_original`.

    Args:
        path (str | Path): The file.
        model (VisionLanguageModel): Not used.

    Returns:
        tuple: Tensors by the original's name, float32, fused projections in three; and notes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or holds no tensors.
    """
    state, notes = read_original(path)
    return split_fused(state, path), notes


def _check_config(path: Path, model: Any) -> None:
    """Compare what shapes do not tell: attention heads and activations."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: SRC with --from clip-hf is the folder of a transformers model "
            "(config.json and model.safetensors)."
        )
    try:
        config = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): {_COPY}.") from error
    if not isinstance(config, dict) or config.get("model_type", "clip") != "clip":
        kind = config.get("model_type") if isinstance(config, dict) else config
        raise ValueError(f"{path} says model_type={kind!r}: --from clip-hf reads 'clip'.")
    for key, tower, heads in (("vision_config", "visual", 12), ("text_config", "text", 8)):
        own = getattr(getattr(getattr(model, tower, None), "model", None), "config", None)
        if own is None:
            # Not CLIP's tower; the names of its tensors will say so.
            continue
        theirs = config.get(key) or {}
        if not isinstance(theirs, dict):
            raise ValueError(f"{path}: {key} must be an object, not {brief(theirs)}: {_COPY}.")
        # transformers leaves values that equal its defaults out of config.json.
        defaults = {
            "num_attention_heads": heads,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        }
        for option, default in defaults.items():
            said, wanted = theirs.get(option, default), getattr(own, option)
            if said != wanted:
                raise ValueError(
                    f"{path}: {key}.{option}={said!r}, the config's model has {wanted!r}: change "
                    f"model.{tower} in --config, or choose another checkpoint."
                )


def read_clip_folder(path: str | Path, model: Any) -> tuple[State, list[str]]:
    """Read a CLIP folder of transformers, or a weight file in one.

    Args:
        path (str | Path): With ``config.json`` and the weights, see :func:`find_weights`.
        model (VisionLanguageModel): The model of the config, to compare what shapes do not tell.

    Returns:
        tuple: Tensors by transformers' name, float32, and notes for the user.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If it is no CLIP model, is damaged, or has other heads or activations.
    """
    path = Path(path)
    folder = path.parent if path.is_file() else path
    _check_config(folder / "config.json", model)
    file, notes = (path, []) if path.is_file() else find_weights(folder)
    return as_float32(read_weights(file), notes), notes


def export_clip(state: State, **_: Any) -> tuple[State, dict[str, str]]:
    """Write an own state dict in the original's names.

    Args:
        state (dict[str, Tensor]): Towers, heads and scale by our name.

    Returns:
        tuple: Tensors by the original's name, and our names to those.

    Raises:
        ValueError: If a projection of queries, keys or values is there without the other two.
    """
    named, used = State(), dict[str, str]()
    for ours, tensor in state.items():
        for name in CLIP.to_theirs(ours):
            named[name] = _turn(tensor) if name in ("visual.proj", "text_projection") else tensor
            used[ours] = name
    return join_fused(named, used)


def export_clip_folder(state: State, **_: Any) -> tuple[State, dict[str, str]]:
    """Write an own state dict in the names of transformers' ``CLIPModel``.

    Args:
        state (dict[str, Tensor]): Towers, heads and scale by our name.

    Returns:
        tuple: Tensors by transformers' name, and our names to those.
    """
    used = {ours: name for ours in state for name in CLIP_FOLDER.to_theirs(ours)}
    return {name: state[ours] for ours, name in used.items()}, used
