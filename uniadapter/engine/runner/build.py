"""From a config to a runner, with errors that say which key is wrong."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import FlexibleRunner, Runner

from uniadapter import registry
from uniadapter.models.build import check_model_cfg
from uniadapter.utils.config import check_has_model
from uniadapter.utils.config_variables import check_runner_keys
from uniadapter.utils.errors import options_named

from .check_options import check_options
from .check_packages import check_backends
from .check_strategy import check_strategy, runner_class
from .check_values import check_values


def build_runner(cfg: Config) -> Runner | FlexibleRunner:
    """Build the runner of a config.

    Args:
        cfg: The config; ``launcher`` and ``work_dir`` are set.

    Returns:
        The runner.

    Raises:
        ValueError: If the config describes no run, names an unregistered type or an option that
            its type does not have.
    """
    name = cfg.filename or "The config"
    if "model" not in cfg:
        raise ValueError(f"{name} has no key `model`: a base or a fragment cannot be run.")
    check_has_model(cfg, name)
    check_runner_keys(cfg, name)
    registry.register_all_modules(init_scope=False)
    # Without, MMEngine's runner would look in its own scope, where nothing of this package is.
    cfg.default_scope = registry.scope_of(cfg)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        foreign = cfg.default_scope != registry.SCOPE
        if foreign:
            _check_scope(cfg, name)
        check_model_cfg(cfg.model, foreign=foreign)
        check_options(cfg)
        check_values(cfg)
        check_backends(cfg)
        kind = runner_class(cfg)
        check_strategy(cfg, kind)
    with options_named():
        return kind.from_cfg(cfg)


def _check_scope(cfg: Config, name: str) -> None:
    """See that the runner, which knows no registry of this package, will find the model."""
    with MODELS.switch_scope_and_registry(None) as models:
        if isinstance(cfg.model.type, str) and models.get(cfg.model.type) is None:
            raise ValueError(
                f"{name}: default_scope={cfg.default_scope!r} has no {cfg.model.type}: set "
                f"default_scope={registry.SCOPE!r}, or write model.type="
                f"'{registry.SCOPE}.{cfg.model.type}'."
            )
