"""Converting checkpoint files between this package's layout and those of other code bases."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from mmengine.config import Config
from safetensors.torch import save_file

from uniadapter.models.build import build_model
from uniadapter.models.conversion import export_state, read_checkpoint
from uniadapter.models.conversion.fit import weight_names
from uniadapter.models.conversion.keys import Report, State
from uniadapter.models.pretrained import read_state_dict

from .model import init_model

_GRID = "visual.pos_embed"
_TRAINING_STATE = ("ema.", "queue.", "step")


def _read_own(path: Path, config: Config) -> tuple[State, State]:
    """Weights and training state of a checkpoint of this package, of any kind."""
    model = init_model(config, path)
    names = weight_names(model)
    state = {name: tensor for name, tensor in model.state_dict().items() if name in names}
    content = read_state_dict(path) if path.is_file() else {}
    training = {n: t for n, t in content.items() if n.startswith(_TRAINING_STATE)}
    # Loading interpolated them; the official code does so itself and wants the source's grid.
    grid = content.get(_GRID)
    if grid is None and model.pretrained is not None:
        grid = read_state_dict(model.pretrained).get(_GRID)
    if grid is not None:
        state[_GRID] = grid.to(state[_GRID].dtype)
    return state, training


def _own_memory(state: State) -> State:
    """Give every tensor memory of its own, as safetensors wants; tied ones are copied."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        fresh = whole and tensor.is_contiguous() and storage.data_ptr() not in seen
        separate[name] = tensor if fresh else tensor.clone(memory_format=torch.contiguous_format)
        seen.add(storage.data_ptr())
    return separate


def _write(path: Path, state: State, to_official: bool) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if to_official:
            torch.save({"model": state}, temporary)
        else:
            # safetensors makes files that only their owner can read, whatever the umask says.
            temporary.touch()
            mode = temporary.stat().st_mode
            save_file(_own_memory(state), temporary, metadata={"format": "pt"})
            temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _check_names(src: Path, dst: Path, source: str | None, target: str | None) -> None:
    if source is None and target is None:
        raise ValueError("Name a layout: --from to read a foreign file, --to to write one.")
    suffix = ".safetensors" if target is None else ".pth"
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
) -> Report:
    """Convert a checkpoint file.

    Args:
        src (str | Path): A file; for ``source='hf'`` a folder or a file in one. With
            ``source=None`` anything that :func:`uniadapter.apis.init_model` loads.
        dst (str | Path): ``.safetensors`` in our names, or ``.pth`` with ``target``.
        config (str | Path | Config): Config of the model.
        source (str, optional): Layout of ``src``; None is this package's.
        target (str, optional): Layout of ``dst``; None is this package's.

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
    if source is None:
        (state, training), report = _read_own(src, config), Report()
    else:
        with torch.device("meta"):
            model = build_model(config.model.to_dict())
        state, report = read_checkpoint(src, source, model)
    if target is not None:
        state, written = export_state(
            state, target, training, config.model.get("queue_size", 57600)
        )
        report = _join(report, written) if source is not None else written
    _write(dst, state, to_official=target is not None)
    return report


def _join(read: Report, written: Report) -> Report:
    """Report of a conversion from a foreign layout to another one."""
    left = dict(read.left)
    left.update({k: written.left[ours] for k, ours in read.used.items() if ours in written.left})
    used = {k: written.used[ours] for k, ours in read.used.items() if ours in written.used}
    return Report(used, left, read.notes + written.notes)
