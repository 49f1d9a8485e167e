"""Which checkpoint a run resumes from, and whether it belongs to the run's model."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import nn

from uniadapter.checkpoints.compare import compare
from uniadapter.checkpoints.state import KEPT_ADAPTERS
from uniadapter.utils.safe_io import load_torch_file

_NUMBERED = re.compile(r"^(epoch|iter)_(\d+)\.pth$")
_NEEDED = ("meta", "state_dict", "message_hub", "optimizer")


def find_resumable(work_dir: str | Path) -> Path | None:
    """Choose the newest whole checkpoint of a work directory.

    The file that ``last_checkpoint`` names comes first, then those before it. Each is read in full,
    as a file can be damaged anywhere.

    Args:
        work_dir: Work directory of the run.

    Returns:
        The checkpoint, or None when the directory has none, so that the run starts from scratch.

    Raises:
        ValueError: If there are checkpoints and none of them can be used.
    """
    candidates = _candidates(Path(work_dir))
    refused: list[tuple[Path, str]] = []
    for path in candidates:
        try:
            check_resumable(path)
        except (ValueError, FileNotFoundError) as error:
            refused.append((path, str(error)))
            continue
        for bad, reason in refused:
            print_log(
                f"Cannot resume from {bad}: {reason} Falling back to the checkpoint before it, "
                f"{path}.",
                logger="current",
                level=logging.WARNING,
            )
        return path
    if refused:
        reasons = "\n".join(f"  {reason}" for _, reason in refused)
        raise ValueError(
            f"None of the {len(refused)} checkpoint(s) in {work_dir} can be resumed from:\n"
            f"{reasons}\nRemove them to start again, or name a file with --resume FILE."
        )
    return None


def check_resumable(path: str | Path) -> None:
    """Read a checkpoint in full and see that it holds all that resuming needs.

    Args:
        path: The checkpoint.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged or is not a training checkpoint.
    """
    content = load_torch_file(path)
    missing = [key for key in _NEEDED if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(
            f"Checkpoint {path} has no {', '.join(missing)}: it holds weights but not the state of "
            "a training run. Use load_from for weights."
        )
    for key in _NEEDED:
        if not isinstance(content[key], dict):
            raise ValueError(
                f"Checkpoint {path} is damaged ({key} must be a dictionary, not a "
                f"{type(content[key]).__name__}): copy it again, or resume from another one."
            )


def state_of(content: Any, path: str | Path) -> dict[str, Any]:
    """The state dict in what a checkpoint holds.

    Args:
        content: What was read.
        path: The file, for the error.

    Raises:
        ValueError: If there is none.
    """
    whole = content if isinstance(content, dict) else {}
    state = whole.get("state_dict", content)
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not isinstance(whole.get("meta", {}), dict):
        raise ValueError(
            f"Checkpoint {path} holds no state dict, or is damaged: name a file of weights."
        )
    return state


def check_matches(
    model: nn.Module, state: Mapping[str, Any], left_out: Collection[str], path: str, exact: bool
) -> None:
    """See that the tensors of a checkpoint are those of a model.

    Args:
        model: The model.
        state: ``state_dict`` of the checkpoint.
        left_out: Names that the checkpoint leaves to the pretrained backbone.
        path: The file, for the message.
        exact: Also require every name (resuming). Otherwise only the trainable ones are required,
            so that weights of another stage may be loaded.

    Raises:
        ValueError: If names or shapes differ, naming the first of them.
    """
    own = {name for name in model.state_dict() if not name.startswith(f"{KEPT_ADAPTERS}.")}
    given = {re.sub(r"^module\.", "", name): value for name, value in state.items()}
    required = own - set(left_out)
    if not exact:
        required &= {name for name, p in model.named_parameters() if p.requires_grad}
    # Weights of another stage may hold more, and be of another image size: loading interpolates.
    differences = compare(
        given, model, required, own, beside=lambda name: not exact, resized=not exact
    )
    differences.raise_for(f"Checkpoint {path}", "Use the config it was trained with.")


def _candidates(work_dir: Path) -> list[Path]:
    numbered: list[tuple[int, Path]] = []
    for path in work_dir.glob("*.pth"):
        match = _NUMBERED.match(path.name)
        if match:
            numbered.append((int(match.group(2)), path))
    numbered.sort(key=lambda item: item[0], reverse=True)
    last = _named_last(work_dir)
    if last is None:
        return [path for _, path in numbered]
    match = _NUMBERED.match(last.name)
    # Higher numbers than the last one's are left from an earlier, longer run in this directory.
    limit = int(match.group(2)) if match else None
    before = [path for number, path in numbered if limit is None or number < limit]
    return [last, *before]


def _named_last(work_dir: Path) -> Path | None:
    pointer = work_dir / "last_checkpoint"
    # Of a damaged pointer no file has the name, and the newest checkpoint is the next one.
    text = pointer.read_text(encoding="utf-8", errors="replace") if pointer.is_file() else ""
    name = text.strip().strip("\0")
    if not name:
        return None
    # The work directory may have been moved or copied since.
    moved = work_dir / Path(name).name
    return moved if os.path.isfile(moved) else Path(name)
