"""Building models from configs and loading any of the package's checkpoints into them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from uniadapter.models.adapters.state import (
    CONFIG_NAME,
    backbone_fingerprint,
    check_state,
    drop_obsolete,
    load_adapter,
    trained_state_dict,
)
from uniadapter.models.build import build_model
from uniadapter.models.former_names import rename_state
from uniadapter.models.pretrained import load_pretrained, read_content, unknown_names
from uniadapter.models.tasks import VisionLanguageModel
from uniadapter.utils.config import apply_cfg_options, load_config

__all__ = ["build_model", "init_model", "load_weights"]

_TRAINING_STATE = ("ema.", "queue.", "step")


def init_model(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    cfg_options: dict[str, Any] | None = None,
) -> VisionLanguageModel:
    """Build a model and load weights.

    Args:
        config (str | Path | Config): A config or its file.
        checkpoint (str | Path, optional): See :func:`load_weights`. None loads the backbone of
            ``model.pretrained`` and leaves the rest at its start; without that file weights are
            random, and a warning says so.
        device (str | torch.device): Where the model goes. Defaults to ``'cpu'``.
        cfg_options (dict, optional): Overrides such as ``{'model.adapter.bottleneck': 128}``.

    Returns:
        VisionLanguageModel: In evaluation mode; its config is under the attribute ``cfg``.

    Raises:
        FileNotFoundError: If the config or the checkpoint does not exist.
        ValueError: If an option is wrong or the checkpoint does not fit.
    """
    if not isinstance(config, Config):
        config = load_config(config)
    if cfg_options:
        config = Config(config.to_dict(), filename=config.filename)
        apply_cfg_options(config, cfg_options)
    if "model" not in config:
        raise ValueError(f"{config.filename} has no key 'model': it is no model config.")
    model = build_model(config.model.to_dict())
    if checkpoint is not None:
        load_weights(model, checkpoint)
    else:
        _load_backbone(model)
    model.cfg = config
    return model.to(device).eval()


def _load_backbone(model: VisionLanguageModel) -> None:
    if model.pretrained is not None and Path(model.pretrained).exists():
        load_pretrained(model, model.pretrained)
        model.on_weights_loaded()
        return
    reason = (
        f"{model.pretrained} does not exist" if model.pretrained else "model.pretrained is None"
    )
    print_log(
        f"The weights of the model are random: no checkpoint was given, and {reason}.",
        "current",
        logging.WARNING,
    )


def load_weights(model: VisionLanguageModel, checkpoint: str | Path) -> None:
    """Load a checkpoint of any kind the package writes, and refuse one that does not fit.

    * the folder of an adapter (or the safetensors file in it): ``model.pretrained`` is loaded
      first, then the adapter, whose backbone must have the same fingerprint;
    * a training checkpoint (``epoch_N.pth``): frozen tensors that it leaves out come from
      ``model.pretrained``;
    * a backbone in the package's names (safetensors or a state dict).

    Args:
        model (VisionLanguageModel): The model.
        checkpoint (str | Path): File or folder.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is damaged or belongs to another model; the error says what differs.
    """
    path = Path(checkpoint)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: name a checkpoint file or folder.")
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or (path.suffix == ".safetensors" and (folder / CONFIG_NAME).is_file()):
        if model.pretrained is not None:
            load_pretrained(model, model.pretrained)
        load_adapter(model, path)
    else:
        _load_file(model, path)
    model.on_weights_loaded()


def _load_file(model: VisionLanguageModel, path: Path) -> None:
    content = read_content(path)
    state = content.state
    rename_state(model, state)
    state = drop_obsolete(path, state, model)
    unknown = unknown_names(state, model.state_dict())
    if unknown:
        raise ValueError(
            f"{path} holds {len(unknown)} tensors that are no part of this package, such as "
            f"{unknown[:3]}: convert other layouts with "
            "tools/model_converters/convert_checkpoint.py."
        )
    trained = set(trained_state_dict(model))
    if not any(name.startswith("adapter.") for name in state) and not trained <= set(state):
        load_pretrained(model, path)
        return
    check_state(path, {name: tensor for name, tensor in state.items() if name in trained}, model)
    tower_names = {
        f"{prefix}.{name}"
        for prefix, tower in model.towers().items()
        for name in tower.state_dict()
    }
    if not tower_names <= set(state):
        if model.pretrained is None:
            raise ValueError(
                f"{path} leaves out the frozen backbone and the config names none: set "
                "model.pretrained to the weights it was trained from."
            )
        load_pretrained(model, model.pretrained)
        _check_fingerprint(model, path, content.meta)
    own = model.state_dict()
    # Frozen heads and temperature are loaded too, training state (momentum, queue) is not.
    fitting = {n: t for n, t in state.items() if n in own and not n.startswith(_TRAINING_STATE)}
    model.load_state_dict(fitting, strict=False)
    if path.suffix != ".safetensors":
        model.set_adapter_extras(content.meta.get("adapter_extras", {}))


def _check_fingerprint(model: VisionLanguageModel, path: Path, meta: dict[str, Any]) -> None:
    """Compare the backbone with the one recorded in a training checkpoint, if it recorded one."""
    recorded = meta.get("backbone_sha256")
    if recorded is not None and recorded != backbone_fingerprint(model):
        raise ValueError(
            f"{path} was trained on a backbone with other weights than {model.pretrained}: set "
            "model.pretrained to the weights it was trained from."
        )
