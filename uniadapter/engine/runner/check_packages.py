"""Packages that types of MMEngine's need, and that this package does not bring."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from mmengine.config import Config

from .check_options import find

_PACKAGES = {
    "DeepSpeedStrategy": "deepspeed",
    "ColossalAIStrategy": "colossalai",
    "TensorboardVisBackend": "tensorboard",
    "WandbVisBackend": "wandb",
    "MLflowVisBackend": "mlflow",
    "ClearMLVisBackend": "clearml",
    "NeptuneVisBackend": "neptune",
    "DVCLiveVisBackend": "dvclive",
    "AimVisBackend": "aim",
}


def require_package(key: str, kind: str) -> None:
    """See that the package behind a type is installed.

    Args:
        key: Where the type stands, for the error.
        kind: The type.

    Raises:
        ValueError: If it is not.
    """
    package = _PACKAGES.get(kind.rpartition(".")[2])
    if package is not None and importlib.util.find_spec(package) is None:
        raise ValueError(
            f"{key}={kind!r} needs the package {package}, which is not installed: "
            f"pip install {package}."
        )


def check_backends(cfg: Config) -> None:
    """See that what a config logs to is installed; MMEngine would find out at the first line.

    Args:
        cfg: The config.

    Raises:
        ValueError: If it is not.
    """
    name = cfg.filename or "The config"
    for key, backend in find(cfg._cfg_dict, ["visualizer", "vis_backends", "*"]):
        kind = backend.get("type") if isinstance(backend, Mapping) else None
        if isinstance(kind, str):
            require_package(f"{name}: {key}.type", kind)
