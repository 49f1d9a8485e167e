"""From a config to a runner, with errors that say which key is wrong."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from uniadapter import registry
from uniadapter.utils.config_variables import check_runner_keys
from uniadapter.utils.setup_env import register_all_modules

from .check_options import check_options


def build_runner(cfg: Config) -> Runner:
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
    check_runner_keys(cfg, name)
    register_all_modules(init_scope=False)
    # Imported here: the towers bring mmpretrain, which loops and hooks do without.
    from uniadapter.utils.model_config import check_model_cfg

    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", registry.SCOPE)):
        check_model_cfg(cfg.model)
        check_options(cfg)
    return Runner.from_cfg(cfg)
