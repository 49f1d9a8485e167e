"""Converting checkpoint files between this package's layout and those of other code bases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from uniadapter.checkpoints import load_weights, read_state_dict, write
from uniadapter.checkpoints.compare import has_place
from uniadapter.checkpoints.layouts import (
    ARRANGED,
    FLAT_TARGETS,
    PLAIN_TARGETS,
    SAFETENSORS_TARGETS,
    Report,
    export_state,
    huggingface_config,
    read_checkpoint,
)
from uniadapter.checkpoints.layouts.keys import State
from uniadapter.checkpoints.state import TRAINING_STATE, weight_names
from uniadapter.models.build import build_model
from uniadapter.utils.config import check_has_model, load_config
from uniadapter.utils.safe_folders import staged_folder
from uniadapter.utils.safe_io import atomic_write

_GRID = "visual.pos_embed"


def _read_own(path: Path, config: Config, target: str | None) -> tuple[State, State, Any, Report]:
    """Weights and training state of a checkpoint of this package, of any kind, and its model."""
    model, report = build_model(config.model.to_dict()), Report()
    content = load_weights(model, path).tensors
    names = weight_names(model)
    if target in PLAIN_TARGETS and model.adapter is not None:
        own = {name for name in model.state_dict() if name.startswith("adapter.")}
        names -= own
        # A backbone's file has nothing of the adapter that the config would train.
        if not own or own & set(content):
            _merge(model, target)
            report.notes.append(f"{model.adapter.method} is merged into the towers' weights")
    state = {name: tensor for name, tensor in model.state_dict().items() if name in names}
    training = {n: t for n, t in content.items() if n.startswith(TRAINING_STATE)}
    # Loading interpolated them; the official code does so itself and wants the source's grid.
    # transformers does not, and gets what the model computes with.
    if target == "hf":
        return state, {}, model, report
    grid = content.get(_GRID)
    if grid is None and model.pretrained is not None:
        grid = read_state_dict(model.pretrained).get(_GRID)
    if grid is not None:
        state[_GRID] = grid.to(state[_GRID].dtype)
    if "vision_proj.weight" in state:
        _check_training(training, state, path)
    return state, training, model, report


def _check_training(training: State, state: State, path: Path) -> None:
    """See that averages and queue are those of the weights, which loading them did not ask.

    Raises:
        ValueError: If not.
    """
    wanted: dict[str, tuple[int, ...]] = {
        name: tuple(state[weight].shape)
        for name, tensor in training.items()
        if (weight := name.removeprefix("ema.").replace("/", ".")) in state
        and not has_place(weight, tensor.shape, state[weight].shape)
    }
    if any(name.startswith("queue.") for name in training):
        # As many entries as were kept, whatever the config says.
        visual = training.get("queue.visual", torch.empty(0, 0))
        size = len(visual) if visual.dim() else 0
        rows = (size, state["vision_proj.weight"].shape[0])
        wanted |= {"queue.visual": rows, "queue.text": rows, "queue.ptr": ()}
        if not any(name.startswith("decoder.") for name in state):
            wanted["queue.ids"] = (size,)
    for name, shape in wanted.items():
        found = training.get(name)
        if found is None or tuple(found.shape) != shape:
            said = "is missing" if found is None else f"has the shape {tuple(found.shape)}"
            raise ValueError(
                f"{path}: {name} {said}, of these weights it has {shape}: the file is damaged or "
                "was edited, copy it again."
            )


def _merge(model: Any, target: str | None) -> None:
    """Write the adapter of a model as other weights of its towers.

    Raises:
        ValueError: If it is none that weights can hold.
    """
    try:
        model.adapter.merge()
    except ValueError as error:
        raise ValueError(
            f"--to {target} has no place for an adapter, and weights alone can't hold this "
            f"{model.adapter.method}: {error}"
        ) from error


def _is_safetensors(target: str | None) -> bool:
    return target is None or target in SAFETENSORS_TARGETS


def _check_names(src: Path, dst: Path, source: str | None, target: str | None) -> None:
    if source is None and target is None:
        raise ValueError("Name a layout: --from to read a foreign file, --to to write one.")
    suffix = ".safetensors" if _is_safetensors(target) else ".pth"
    if target == "hf" and dst.suffix == "":
        # The folder of a model.
        return
    if dst.suffix != suffix:
        folder = ", or be a folder without a dot in its name" if target == "hf" else ""
        raise ValueError(f"DST {dst} must end in {suffix}{folder}.")
    if src.resolve() == dst.resolve():
        raise ValueError(f"DST {dst} is SRC and would be overwritten: name another file.")


def convert_checkpoint(
    src: str | Path,
    dst: str | Path,
    config: str | Path | Config,
    source: str | None = None,
    target: str | None = None,
    init_decoder: bool = False,
    answers: str | Path | None = None,
) -> Report:
    """Convert a checkpoint file.

    Args:
        src (str | Path): A file; for ``source='hf'``, ``'clip-hf'``, ``'t5-hf'`` and
            ``'bart-hf'`` a folder or a file in one.
            With ``source=None`` anything that :func:`uniadapter.apis.init_model` loads.
        dst (str | Path): ``.safetensors`` in our names or those of ``'clip-hf'``, ``.pth`` in
            another layout. Of ``'hf'`` the folder of a model, or a ``.safetensors`` in it; its
            ``config.json`` is written too.
        config (str | Path | Config): Config of the model.
        source (str, optional): Layout of ``src``; None is this package's.
        target (str, optional): Layout of ``dst``; None is this package's.
        init_decoder (bool): Start the decoder from the text encoder of ``src``, see
            :func:`uniadapter.checkpoints.layouts.read_checkpoint`. Defaults to False.
        answers (str | Path, optional): The answers of the head in ``src``, for
            ``source='clip-vil-start'``.

    Returns:
        Report: What became of every source key.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If an argument is wrong, or the file is damaged or does not fit the config.
    """
    src, dst = Path(src), Path(dst)
    _check_names(src, dst, source, target)
    if not isinstance(config, Config):
        config = load_config(config)
    check_has_model(config, config.filename)
    training: State = {}
    if source is None and answers is not None:
        raise ValueError("--answers is of a foreign file's head: it needs --from.")
    if source is None and init_decoder:
        raise ValueError("--init-decoder starts a decoder from a foreign file: it needs --from.")
    if source is None:
        state, training, model, report = _read_own(src, config, target)
    else:
        with torch.device("meta"):
            model = build_model(config.model.to_dict())
        state, report = read_checkpoint(src, source, model, init_decoder, answers)
    own, model_cfg = state, config.model
    if target is not None:
        state, written = export_state(
            state, target, training, model_cfg.get("queue_size", 57600), model_cfg.get("tasks", ())
        )
        written.notes = [*report.notes, *written.notes] if source is None else written.notes
        report = _join(report, written) if source is not None else written
    if target == "hf":
        dst = dst / "model.safetensors" if dst.suffix == "" else dst
        text = json.dumps(huggingface_config(own, model), indent=2) + "\n"
        with staged_folder(dst.parent, "config.json") as inside:
            atomic_write(inside / "config.json", text.encode())
            _write(inside / dst.name, state, target)
    else:
        _write(dst, state, target)
    return report


def _write(dst: Path, state: State, target: str | None) -> None:
    """Write tensors as the layout's own code reads them."""
    key = "" if target in FLAT_TARGETS else "state_dict" if target == "mmpretrain" else "model"
    content = ARRANGED[target](state) if target in ARRANGED else state
    write(dst, content, under=None if _is_safetensors(target) else key)


def _join(read: Report, written: Report) -> Report:
    """Report of a conversion from a foreign layout to another one."""
    left = dict(read.left)
    left.update({k: written.left[ours] for k, ours in read.used.items() if ours in written.left})
    used = {k: written.used[ours] for k, ours in read.used.items() if ours in written.used}
    return Report(used, left, read.notes + written.notes)
