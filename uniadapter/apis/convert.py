"""Converting checkpoint files between this package's layout and those of other code bases."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config

from uniadapter.checkpoints import load_weights, read_state_dict, write
from uniadapter.checkpoints.layouts import (
    ARRANGED,
    FLAT_TARGETS,
    SAFETENSORS_TARGETS,
    Report,
    export_state,
    read_checkpoint,
)
from uniadapter.checkpoints.layouts.keys import State
from uniadapter.checkpoints.state import TRAINING_STATE, weight_names
from uniadapter.models.build import build_model

_GRID = "visual.pos_embed"


def _read_own(path: Path, config: Config) -> tuple[State, State]:
    """Weights and training state of a checkpoint of this package, of any kind."""
    model = build_model(config.model.to_dict())
    content = load_weights(model, path).tensors
    names = weight_names(model)
    state = {name: tensor for name, tensor in model.state_dict().items() if name in names}
    training = {n: t for n, t in content.items() if n.startswith(TRAINING_STATE)}
    # Loading interpolated them; the official code does so itself and wants the source's grid.
    grid = content.get(_GRID)
    if grid is None and model.pretrained is not None:
        grid = read_state_dict(model.pretrained).get(_GRID)
    if grid is not None:
        state[_GRID] = grid.to(state[_GRID].dtype)
    return state, training


def _is_safetensors(target: str | None) -> bool:
    return target is None or target in SAFETENSORS_TARGETS


def _check_names(src: Path, dst: Path, source: str | None, target: str | None) -> None:
    if source is None and target is None:
        raise ValueError("Name a layout: --from to read a foreign file, --to to write one.")
    suffix = ".safetensors" if _is_safetensors(target) else ".pth"
    if dst.suffix != suffix:
        raise ValueError(f"DST {dst} must end in {suffix}.")
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
            another layout.
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
        config = Config.fromfile(str(config))
    if "model" not in config:
        raise ValueError(f"{config.filename} has no key 'model': it is no model config.")
    training: State = {}
    if source is None and answers is not None:
        raise ValueError("--answers is of a foreign file's head: it needs --from.")
    if source is None and init_decoder:
        raise ValueError("--init-decoder starts a decoder from a foreign file: it needs --from.")
    if source is None:
        (state, training), report = _read_own(src, config), Report()
    else:
        with torch.device("meta"):
            model = build_model(config.model.to_dict())
        state, report = read_checkpoint(src, source, model, init_decoder, answers)
    if target is not None:
        model_cfg = config.model
        state, written = export_state(
            state, target, training, model_cfg.get("queue_size", 57600), model_cfg.get("tasks", ())
        )
        report = _join(report, written) if source is not None else written
    key = "" if target in FLAT_TARGETS else "model"
    content = ARRANGED[target](state) if target in ARRANGED else state
    write(dst, content, under=None if _is_safetensors(target) else key)
    return report


def _join(read: Report, written: Report) -> Report:
    """Report of a conversion from a foreign layout to another one."""
    left = dict(read.left)
    left.update({k: written.left[ours] for k, ours in read.used.items() if ours in written.left})
    used = {k: written.used[ours] for k, ours in read.used.items() if ours in written.used}
    return Report(used, left, read.notes + written.notes)
