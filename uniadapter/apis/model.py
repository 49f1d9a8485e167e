"""Building models from configs and loading any of the package's checkpoints into them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from uniadapter.checkpoints import load_pretrained, load_weights
from uniadapter.models.build import build_model
from uniadapter.models.tasks import VisionLanguageModel
from uniadapter.utils.config import apply_cfg_options, check_has_model, load_config
from uniadapter.utils.devices import check_device
from uniadapter.utils.paths import find_file

__all__ = ["build_model", "init_model", "load_weights"]


def init_model(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
    cfg_options: dict[str, Any] | None = None,
) -> VisionLanguageModel:
    """Build a model and load weights.

    Args:
        config (str | Path | Config): A config or its file.
        checkpoint (str | Path, optional): What :func:`load_weights` reads. None loads the backbone
            of ``model.pretrained`` and leaves the rest at its start; without that file weights are
            random, and a warning says so.
        device (str | torch.device): Where the model goes. Defaults to ``'cpu'``.
        cfg_options (dict, optional): Overrides such as ``{'model.adapter.bottleneck': 128}``.

    Returns:
        VisionLanguageModel: In evaluation mode; its config is under the attribute ``cfg``.

    Raises:
        FileNotFoundError: If the config or the checkpoint does not exist.
        ValueError: If there is no such device, an option is wrong or the checkpoint does not fit.
    """
    check_device(device)
    if not isinstance(config, Config):
        config = load_config(config)
    if cfg_options:
        config = Config(config.to_dict(), filename=config.filename)
        apply_cfg_options(config, cfg_options)
    check_has_model(config, config.filename)
    model = build_model(config.model.to_dict())
    if checkpoint is not None:
        load_weights(model, checkpoint)
    else:
        _load_backbone(model)
    model.cfg = config
    return model.to(device).eval()


def _load_backbone(model: VisionLanguageModel) -> None:
    if model.pretrained is not None and find_file(model.pretrained).exists():
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
