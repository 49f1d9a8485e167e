"""UniPT's checkpoints on VSE-infinity, ``model_best.pth``, and the towers that they start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from uniadapter.utils.tensors import why_unread

from ..compare import compare
from ..files import read
from ..foreign_file import load_foreign_file
from .frozen import compare_frozen
from .keys import Layout, Pair, Report, State, map_keys
from .official import POSITION_IDS

# Their file has a list of two state dicts, whose names begin alike.
_SIDES = ("image", "text")
_PLACES = ("model[0].", "model[1].")
_WRAPPER = "module."
_STAGES, _LAYERS = 4, 12
_COUNTER = "num_batches_tracked"
_POOLER = (r"(?:.+\.)?pooler\.dense\.(?:weight|bias)", "BERT's pooler, which nothing reads")
_CLASSIFIER = (r"(?:.+\.)?fc\.(?:weight|bias)", "the classifier of ImageNet's words")
_PRETRAINING = (r"cls\..+", "heads of BERT's pre-training")


def _matrix(kernel: torch.Tensor) -> torch.Tensor:
    """A convolution of 1 x 1, (C', C, 1, 1), as a linear layer has it."""
    return kernel.flatten(1)


def _bert(theirs: str) -> tuple[Pair, ...]:
    types = "embeddings.token_type_embeddings.weight"
    return (Pair(f"{theirs}{{bert}}", "text.{bert}"), Pair(theirs + types, f"text.{types}"))


def _side(place: str, role: str, taps: int) -> tuple[Pair, ...]:
    """Names of a side network; the last projection down is the guide's."""
    theirs, ours = f"{place}module.side_tuning_module.", f"adapter.sides.{role}."
    parts = {f"downsample_layers.{tap}": f"down.{tap}" for tap in range(taps)}
    parts[f"downsample_layers.{taps}"] = "down_guide"
    names = {f"{a}.0": f"{b}.linear" for a, b in parts.items()}
    norms = {f"{a}.1": f"{b}.norm" for a, b in parts.items()}
    names.update({"projection_layer.0": "projection.0", "upsample_layer.1": "up.linear"})
    norms["projection_layer.1"] = "projection.1"
    maps = role == "visual"
    if maps:
        names.update({f"identity_layers.{k}": f"reduce.queries.{k}" for k in range(taps)})
    read = _matrix if maps else None
    kind = "norm" if maps else "p"
    return (
        *(Pair(f"{theirs}{a}.weight", f"{ours}{b}.weight", read=read) for a, b in names.items()),
        *(Pair(f"{theirs}{a}.bias", f"{ours}{b}.bias") for a, b in names.items()),
        *(Pair(f"{theirs}{a}.{{{kind}}}", f"{ours}{b}.{{{kind}}}") for a, b in norms.items()),
        Pair(f"{theirs}gate_layer.{{p}}", f"{ours}gate.{{p}}"),
    )


def _backbone(place: str) -> tuple[Pair, ...]:
    """The network's three names: itself, and its parts in front of the stages and the stages."""
    theirs = f"{place}module.backbone."
    stages = (
        Pair(f"{theirs}top.{k}.{{block}}", f"visual.layer{k + 1}.{{block}}") for k in range(_STAGES)
    )
    return (
        Pair(f"{theirs}resnet.{{clip_resnet}}", "visual.{clip_resnet}"),
        Pair(f"{theirs}base.0.weight", "visual.conv1.weight"),
        Pair(f"{theirs}base.1.{{norm}}", "visual.bn1.{norm}"),
        *stages,
    )


VSE = Layout(
    "vse",
    (
        *_side(_PLACES[0], "visual", _STAGES - 1),
        *_side(_PLACES[1], "text", _LAYERS),
        Pair(f"{_PLACES[0]}module.image_encoder.{{gpo}}", "visual_pool.{gpo}"),
        Pair(f"{_PLACES[1]}module.gpool.{{gpo}}", "text_pool.{gpo}"),
        *_backbone(_PLACES[0]),
        *_bert(f"{_PLACES[1]}module.bert."),
    ),
    (_POOLER, _CLASSIFIER, (r"(?:.+\.)?embeddings\.position_ids", POSITION_IDS[1])),
)
TORCHVISION = Layout(
    "torchvision", (Pair("{clip_resnet}", "visual.{clip_resnet}"),), (_CLASSIFIER,)
)
BERT = Layout("bert", (*_bert("bert."), *_bert("")), (_POOLER, _PRETRAINING, POSITION_IDS))


def read_vse(path: str | Path, model: Any) -> tuple[State, list[str]]:
    """Read a file of VSE-infinity with UniPT: two state dicts, of images and of texts.

    Where the config's ``model.pretrained`` is on the disk, the frozen tensors must be those of it.

    Args:
        path (str | Path): The file.
        model (VisionLanguageModel): Of the config; names the weights to compare with.

    Returns:
        tuple: Tensors by their name with ``model[0].`` or ``model[1].`` in front; and notes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, holds something else than two state dicts, or its frozen part
            is another backbone's.
    """
    content = load_foreign_file(path)
    pair = content.get("model") if isinstance(content, dict) else None
    if not isinstance(pair, list | tuple) or len(pair) != len(_PLACES):
        kinds = f"{type(content).__name__} whose 'model' is a {type(pair).__name__}"
        raise ValueError(
            f"{path} holds a {kinds}: VSE-infinity's model_best.pth has a list of two state dicts "
            "there, of images and of texts: check --from 'vse'."
        )
    state: State = {}
    for place, side, tensors in zip(_PLACES, _SIDES, pair, strict=True):
        if not isinstance(tensors, dict) or not tensors:
            raise ValueError(f"{path}: {place[:-1]}, of the {side}s, is no state dict.")
        for name, tensor in tensors.items():
            odd = why_unread(tensor)
            if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or odd:
                said = odd or f"a {type(tensor).__name__}, no tensor"
                raise ValueError(f"{path}: {place}{name!s:.200} is {said}.")
            # Where DataParallel has not wrapped the model there is nothing in front.
            plain = name if name.startswith(_WRAPPER) else _WRAPPER + name
            state[place + plain] = tensor
    notes = [f"beside the weights, not used: {key}" for key in content if key != "model"]
    notes.append(compare_frozen(state, VSE, getattr(model, "pretrained", None), path))
    return state, notes


def export_vse(state: State, **_: Any) -> tuple[State, dict[str, str]]:
    """Write an own state dict in the names of VSE-infinity with UniPT.

    Args:
        state (dict[str, Tensor]): Towers, poolings and side networks by our name.

    Returns:
        tuple: Tensors by their name with ``model[0].`` or ``model[1].`` in front, and our names to
        those.
    """
    theirs: State = {}
    used: dict[str, str] = {}
    for ours, tensor in state.items():
        for name in VSE.to_theirs(ours):
            layer = name.startswith(_PLACES[0]) and "side_tuning_module" in name
            is_kernel = layer and tensor.dim() == 2 and "gate_layer" not in name
            theirs[name] = tensor[..., None, None] if is_kernel else tensor
            used.setdefault(ours, name)
    return theirs, used


def in_two(state: State) -> list[State]:
    """The two state dicts that the names of :func:`export_vse` are of."""
    return [
        {name.removeprefix(place): t for name, t in state.items() if name.startswith(place)}
        for place in _PLACES
    ]


def read_towers(visual: str | Path, text: str | Path, model: Any) -> tuple[State, Report]:
    """Read both towers from files of their own.

    Args:
        visual (str | Path): State dict of torchvision's network, such as that of ResNeXt-101 WSL.
        text (str | Path): State dict of transformers' BERT, alone or with its heads.
        model (VisionLanguageModel): Of the config; may be on the meta device.

    Returns:
        tuple: Tensors of both towers by our name, and what became of every key.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, has unknown keys, or is of another size.
    """
    joined: State = {}
    whole = Report()
    for path, layout, tower in ((visual, TORCHVISION, "visual"), (text, BERT, "text")):
        source = read(path).tensors
        if layout is BERT:
            source = {_in_todays_names(name): tensor for name, tensor in source.items()}
        state, report = map_keys(source, layout, str(path))
        if layout is TORCHVISION:
            _add_counters(state, report)
        wanted = {name for name in model.state_dict() if name.startswith(f"{tower}.")}
        differences = compare(state, model, wanted)
        differences.raise_for(path, f"Choose the weights of model.{tower}, or correct its options.")
        joined.update(state)
        whole.used.update(report.used)
        whole.left.update(report.left)
        whole.notes += report.notes
    return joined, whole


def _in_todays_names(name: str) -> str:
    """A parameter of BERT's norms, which Google's files call gamma and beta."""
    return re.sub(r"gamma$", "weight", re.sub(r"beta$", "bias", name))


def _add_counters(state: State, report: Report) -> None:
    """Put the counters of batch norms in, which files from before 2018 lack."""
    norms = [name.rpartition(".")[0] for name in state if name.endswith("running_var")]
    missing = [norm for norm in norms if f"{norm}.{_COUNTER}" not in state]
    for norm in missing:
        state[f"{norm}.{_COUNTER}"] = torch.zeros((), dtype=torch.long)
    if missing:
        report.notes.append(f"{len(missing)} counters of batch norms, which it lacks, are 0")
