"""From the ``model`` part of a config to a model, with errors that say which key is wrong."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope

from uniadapter.registry import MODELS, SCOPE
from uniadapter.utils.errors import options_named

from .check_config import check_model_cfg
from .tasks import VisionLanguageModel

__all__ = ["build_model", "check_model_cfg"]


def build_model(model_cfg: dict[str, Any]) -> VisionLanguageModel:
    """Build a model from the ``model`` part of a config.

    Args:
        model_cfg (dict): Config with a ``type`` registered in :data:`uniadapter.MODELS`.

    Returns:
        VisionLanguageModel: With random weights.

    Raises:
        ValueError: If the type is unknown or an option is wrong.
    """
    with DefaultScope.overwrite_default_scope(SCOPE):
        check_model_cfg(model_cfg)
        # Constructors may take options out of what they are given.
        kept = copy.deepcopy(model_cfg)
        with options_named():
            model = MODELS.build(model_cfg)
    if isinstance(model, VisionLanguageModel):
        model.cfg = Config({"model": kept})
    return model
