"""Loading a checkpoint of any kind into a model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from uniadapter.utils.paths import find_file

from .adapter import load_adapter
from .backbone import load_backbone, load_pretrained
from .compare import compare, parts_beside
from .files import Content, is_adapter, read
from .former_names import drop_obsolete, rename_state
from .layouts import convert_with
from .state import TRAINING_STATE, check_fingerprint, part_names, trained_state_dict

_REMEDY = "Build the model from the config that trained this file; {}."


def load_weights(model: Any, checkpoint: str | Path) -> Content:
    """Load a checkpoint of any kind the package writes, and refuse one that does not fit.

    * the folder of an adapter (or the safetensors file in it): ``model.pretrained`` is loaded
      first, then the adapter, whose backbone must have the same fingerprint;
    * a training checkpoint (``epoch_N.pth``): frozen tensors that it leaves out come from
      ``model.pretrained``;
    * a backbone in the package's names (safetensors or a state dict).

    Args:
        model (VisionLanguageModel): The model.
        checkpoint (str | Path): File or folder.

    Returns:
        Content: What was read, tensors by the names of this version.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged or belongs to another model; the error says what differs.
    """
    path = find_file(checkpoint)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: name a checkpoint file or folder.")
    if path.is_dir() or is_adapter(path):
        if model.pretrained is not None:
            load_pretrained(model, model.pretrained)
        content = load_adapter(model, path)
    else:
        content = read(path)
        _load_file(model, path, content)
    model.on_weights_loaded()
    return content


def _load_file(model: Any, path: Path, content: Content) -> None:
    rename_state(model, content.tensors)
    tensors = drop_obsolete(path, content.tensors, model)
    trained = set(trained_state_dict(model))
    if not any(name.startswith("adapter.") for name in tensors) and not trained <= set(tensors):
        load_backbone(model, path, tensors)
        return
    # Frozen heads and temperature are loaded too, training state (momentum, queue) is not.
    own = {name for name in model.state_dict() if not name.startswith(TRAINING_STATE)}
    towers = part_names(model, model.towers())
    recorded = content.meta.get("backbone_sha256")
    # A file that leaves the frozen backbone out says so; half a backbone is another model's.
    whole = recorded is None and bool((towers - trained) & set(tensors))
    needed = trained | towers if whole else trained
    differences = compare(tensors, model, needed, own, beside=parts_beside(model))
    if differences:
        differences.raise_for(path, _REMEDY.format(convert_with(tensors)))
    left = {
        name.split(".")[0] for name in set(tensors) - own if not name.startswith(TRAINING_STATE)
    }
    if left:
        said = f"{path}: left out {sorted(left)}, which this {type(model).__name__} has not."
        print_log(said, "current", logging.WARNING)
    if not towers <= set(tensors):
        if model.pretrained is None:
            raise ValueError(
                f"{path} leaves out the frozen backbone and the config names none: set "
                "model.pretrained to the weights it was trained from."
            )
        load_pretrained(model, model.pretrained)
        if recorded is not None:
            check_fingerprint(path, recorded, model)
    model.load_state_dict({n: t for n, t in tensors.items() if n in own}, strict=False)
    if path.suffix != ".safetensors":
        model.set_adapter_extras(content.meta.get("adapter_extras", {}))
