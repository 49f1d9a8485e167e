"""Reading checkpoints of other code bases into this package's names, and writing them back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..compare import is_part
from ..files import read
from .albef import ALBEF, export_albef, say_decoder, with_decoder
from .bart import BART_FOLDER, read_bart_folder
from .beit3 import BEIT3, export_beit3
from .clip import (
    CLIP,
    CLIP_FOLDER,
    export_clip,
    export_clip_folder,
    read_clip,
    read_clip_folder,
)
from .clip4clip import CLIP4CLIP, export_clip4clip, read_clip4clip
from .clip_vil import (
    CLIP_VIL,
    CLIP_VIL_START,
    export_clip_vil,
    read_clip_vil,
    read_clip_vil_start,
)
from .fit import fit_to_model
from .huggingface import HUGGINGFACE, export_huggingface, read_huggingface
from .keys import Layout, Report, State, map_keys
from .mdetr import MDETR, export_mdetr, read_mdetr
from .mmpretrain import MMPRETRAIN, export_mmpretrain
from .official import OFFICIAL, export_official
from .released import RELEASED, export_released
from .t5 import T5_FOLDER, read_t5_folder
from .vl_adapter import VL_ADAPTER, export_vl_adapter, layout_of, read_vl_adapter
from .vse import VSE, export_vse, in_two, read_vse

SOURCES: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        *(OFFICIAL, RELEASED, HUGGINGFACE, MMPRETRAIN, ALBEF, BEIT3, CLIP, CLIP_FOLDER),
        CLIP4CLIP,
        *(CLIP_VIL, CLIP_VIL_START, VSE, MDETR),
        *(T5_FOLDER, BART_FOLDER, VL_ADAPTER),
    )
}
# Of layouts that are more than a file of tensors under their names.
_READERS: dict[str, Callable[..., tuple[State, list[str]]]] = {
    "hf": read_huggingface,
    "clip": read_clip,
    "clip-hf": read_clip_folder,
    "clip4clip": read_clip4clip,
    "clip-vil": read_clip_vil,
    "vse": read_vse,
    "mdetr": read_mdetr,
    "t5-hf": read_t5_folder,
    "bart-hf": read_bart_folder,
    "vl-adapter": read_vl_adapter,
}
# Of layouts whose names mean what the values beside them say.
_SCHEMES: dict[str, Callable[..., Layout]] = {"vl-adapter": layout_of}
_EXPORTS: dict[str, Callable[..., tuple[State, dict[str, str]]]] = {
    "blip": export_official,
    "uniadapter": export_released,
    "hf": export_huggingface,
    "mmpretrain": export_mmpretrain,
    "albef": export_albef,
    "beit3": export_beit3,
    "clip": export_clip,
    "clip-hf": export_clip_folder,
    "clip4clip": export_clip4clip,
    "clip-vil": export_clip_vil,
    "vse": export_vse,
    "mdetr": export_mdetr,
    "vl-adapter": export_vl_adapter,
}
TARGETS = tuple(_EXPORTS)
#: Targets whose own code reads safetensors.
SAFETENSORS_TARGETS = ("clip-hf", "hf")
#: Targets whose own code reads a state dict that stands under no key.
FLAT_TARGETS = ("clip4clip", "clip-vil", "vl-adapter")
#: Targets whose own code builds no adapter: one that can be is merged into the weights.
PLAIN_TARGETS = ("hf", "mmpretrain")
#: What a target's file holds in the place of one state dict.
ARRANGED: dict[str, Callable[[State], Any]] = {"vse": in_two}
# What a layout of adapters holds; others would be half a file.
_HOLDS = {
    "uniadapter": (
        "adapters of variant='released', sharing='down', query_residual='shared' with kv_rank > 0"
    ),
    "vl-adapter": (
        "VLAdapter of the sites attn, cross and ffn that shares over tasks alone, Hyperformer, "
        "LoRA of q and v, and one PromptTuning"
    ),
}
# Whose tensors no export leaves out; an adapter's and heads' are said in the report.
_TOWERS = ("visual.", "text.", "decoder.", "detr.")


def _known_by(names: Iterable[str]) -> list[str]:
    """The layouts that know all of some names."""
    names = list(names)
    # CLIP's fused projections are told apart once they are read.
    return [
        name
        for name, layout in SOURCES.items()
        if names and all(layout.knows(key) or layout.knows(f"{key}[q]") for key in names)
    ]


def convert_with(names: Iterable[str]) -> str:
    """What to do with a file of such names, as half a sentence for an error.

    Args:
        names (Iterable[str]): Names of its tensors.

    Returns:
        str: The tool, with the layouts that know all of the names if there are any.
    """
    found, tool = _known_by(names), "tools/model_converters/convert_checkpoint.py"
    if not found:
        return f"convert other layouts with {tool}"
    return f"it has the names of another layout, convert it with {tool} --from {'|'.join(found)}"


def read_checkpoint(
    path: str | Path,
    layout: str,
    model: Any,
    init_decoder: bool = False,
    answers: str | Path | None = None,
) -> tuple[State, Report]:
    """Read a foreign checkpoint as tensors of a model.

    Args:
        path (str | Path): A file; for ``'hf'``, ``'clip-hf'``, ``'t5-hf'`` and ``'bart-hf'`` a
            folder or a weight file in one.
        layout (str): One of :data:`SOURCES`.
        model (VisionLanguageModel): Says which tensors and shapes are needed; its weights are not
            touched and may be on the meta device.
        init_decoder (bool): Start the model's decoder from the upper layers of the text encoder
            and its head for masked words, which ALBEF's pre-trained files have. Defaults to False.
        answers (str | Path, optional): The answers of the file's head, which CLIP-ViL's start has.

    Returns:
        tuple: Tensors by our name, and what became of every source key.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the layout is unknown, the file is damaged or does not fit, or there is no
            decoder to start or nothing to start it from.
    """
    if layout not in SOURCES:
        raise ValueError(f"--from {layout!r} is unknown: choose from {sorted(SOURCES)}.")
    if answers is not None and layout != CLIP_VIL_START.name:
        raise ValueError(
            f"--answers names the answers of a pre-training's head: it needs --from "
            f"{CLIP_VIL_START.name}, not {layout!r}."
        )
    if layout == CLIP_VIL_START.name:
        source, notes = read_clip_vil_start(path, model, answers)
    elif layout in _READERS:
        source, notes = _READERS[layout](path, model)
    else:
        content = read(path)
        source = content.tensors
        notes = [f"beside the weights, not used: {k} ({what})" for k, what in content.left.items()]
    if not init_decoder:
        return _read_as(layout, source, notes, model, str(path))
    if layout != "albef" or model.decoder is None:
        raise ValueError(
            "--init-decoder starts the decoder of a config's model from one of ALBEF's pre-trained "
            f"files: it needs --from albef, not {layout!r}, and a model with a decoder."
        )
    layers = model.decoder.bert.num_layers
    source = with_decoder(source, layers, str(path))
    state, report = _read_as(layout, source, notes, model, str(path))
    say_decoder(report, layers)
    return state, report


def _read_as(
    layout: str, source: State, notes: list[str], model: Any, path: str
) -> tuple[State, Report]:
    """Rename tensors and fit them to a model; an error says which layout knows all their names."""
    try:
        scheme = _SCHEMES.get(layout)
        names = SOURCES[layout] if scheme is None else scheme(source, model, path)
        state, report = map_keys(source, names, path)
        report.notes += notes
        return fit_to_model(state, report, model, path), report
    except ValueError as error:
        others = [name for name in _known_by(source) if name != layout]
        if not others and all(key.startswith("visual.") or is_part(key) for key in source):
            raise ValueError(
                f"{error} Its names are this package's own: it needs no conversion, --config must "
                "be that of its model."
            ) from error
        if not others:
            raise
        raise ValueError(
            f"{error} All keys of the file are names of --from {' and '.join(others)}: is it a "
            "file of that family, and the config of that backbone?"
        ) from error


def export_state(
    state: State,
    layout: str,
    training: State | None = None,
    queue_size: int = 57600,
    tasks: Iterable[str] = (),
) -> tuple[State, Report]:
    """Write tensors of a model in an official layout.

    Args:
        state (dict[str, Tensor]): Weights by our name.
        layout (str): One of :data:`TARGETS`.
        training (dict, optional): Momentum averages (``ema.*``) and the queue (``queue.*``) of a
            training checkpoint. Without them the momentum copies are the weights themselves and
            the queue starts empty.
        queue_size (int): Entries of a queue that starts empty. Defaults to 57600, as BLIP.
        tasks (Iterable[str]): Tasks that the model learns jointly. Defaults to none.

    Returns:
        tuple: Tensors by official name, and what became of every key.

    Raises:
        ValueError: If the layout is unknown or is that of other towers, or is ``'uniadapter'`` and
            there is no adapter.
    """
    if layout not in TARGETS:
        raise ValueError(f"--to {layout!r} is unknown: choose from {list(TARGETS)}.")
    has_adapter = any(name.startswith("adapter.") for name in state)
    if layout in PLAIN_TARGETS and has_adapter:
        raise ValueError(
            f"--to {layout} has no place for an adapter: convert to a file of ours first, and that "
            "without --from, which merges an adapter that can be."
        )
    if layout == "uniadapter" and not has_adapter:
        raise ValueError("--to uniadapter needs an adapter, the source has none: use --to blip.")
    training = training or {}
    momentum = {
        name.removeprefix("ema.").replace("/", "."): tensor
        for name, tensor in training.items()
        if name.startswith("ema.")
    }
    queue = {n.removeprefix("queue."): t for n, t in training.items() if n.startswith("queue.")}
    official, used = _EXPORTS[layout](
        state, momentum=momentum or None, queue=queue or None, queue_size=queue_size, tasks=tasks
    )
    report = Report(used=used)
    reason = f"the layout {layout!r} has no name for it"
    report.left = {name: reason for name in state if name not in used}
    unnamed = sorted(name for name in report.left if name.startswith(_TOWERS))
    if unnamed:
        raise ValueError(
            f"--to {layout!r} has no names for {len(unnamed)} tensors of the towers, such as "
            f"{unnamed[:3]}: they are another family's, choose its layout from {list(TARGETS)}."
        )
    if layout in _HOLDS and report.left:
        raise ValueError(
            f"--to {layout}: the released layout has no place for {sorted(report.left)[:3]}: it "
            f"holds {_HOLDS[layout]}."
        )
    if training and "vision_proj.weight" in state:
        report.used.update(
            {n: "momentum copies (_m)" for n in training if n.startswith("ema.")}
            | {n: "feature queue" for n in training if n.startswith("queue.")}
        )
        report.left.update({n: "counter of steps" for n in training if n.startswith("step")})
    return official, report
