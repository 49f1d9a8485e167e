"""Reading config files and ``--cfg-options``: errors name the file, the key and the remedy.

A config file is a program: it runs when it is read. Only open configs from people you trust.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from .config_variables import RUNNER_KEYS, check_file_variables, places_of, runner_key_hint
from .json_files import brief
from .model_index import config_file, models_by_name
from .options import near_name

# Dictionaries without a `type` whose keys go to a constructor, which refuses the unknown ones.
_JUDGED_SECTIONS = frozenset(
    {"train_dataloader", "val_dataloader", "test_dataloader", "randomness", "sampler"}
)


def load_config(path: str | Path, cfg_options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file and apply overrides to it.

    Args:
        path: Config file (.py, .json, .yaml). Those of the project are also found from other
            folders, as ``configs/tiny/msrvtt_r32.py`` or ``uniadapter::tiny/msrvtt_r32.py``, and by
            the names of their models.
        cfg_options: Overrides by dotted key, e.g. ``{'model.adapter.bottleneck': 128}``. A number
            indexes a list: ``{'param_scheduler.0.T_max': 3}``.

    Returns:
        The config.

    Raises:
        FileNotFoundError: If the file or one of its ``_base_`` files does not exist.
        ValueError: If the file cannot be read as a config, a file that inherits assigns a variable
            that nothing reads, or an override names an unknown key.
    """
    file = config_file(path)
    if not file.is_file():
        raise FileNotFoundError(f"Config file {file} does not exist.{_similar_files(file)}")
    try:
        cfg = Config.fromfile(str(file))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Config file {file} needs a file that does not exist ({error}): check its `_base_`."
        ) from error
    except ImportError:
        raise
    except Exception as error:
        # The file is a program, so reading it can raise anything.
        raise ValueError(
            f"Config file {file} cannot be read: {type(error).__name__}: {error}"
        ) from error
    check_file_variables(file, cfg)
    if cfg_options:
        apply_cfg_options(cfg, cfg_options)
    return cfg


def dataset_config(cfg: Mapping[str, Any], split: str, where: str | Path) -> dict[str, Any]:
    """The config of the data set of a split.

    Args:
        cfg: A config.
        split: 'train', 'val' or 'test'.
        where: Its file, for the message.

    Raises:
        ValueError: If there is no data loader of that split, or no data set in it.
    """
    loader = cfg.get(f"{split}_dataloader")
    if not loader:
        raise ValueError(f"{where}: there is no {split}_dataloader.")
    dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
    if not isinstance(dataset, dict):
        raise ValueError(
            f"{where}: {split}_dataloader.dataset is {brief(dataset)}, not the dict of a data set."
        )
    return dataset


def check_has_model(cfg: Mapping[str, Any], where: str | Path | None) -> None:
    """Refuse a config that describes no model.

    Args:
        cfg: The config.
        where: Its file.

    Raises:
        ValueError: If it has no ``model``, or it is no dictionary.
    """
    if "model" not in cfg:
        raise ValueError(f"{where} has no key 'model': it is no model config.")
    if not isinstance(cfg["model"], Mapping):
        raise ValueError(
            f"{where}: model = {cfg['model']!r:.80} is no dictionary: it is no model config."
        )


def load_model_config(path: str | Path, cfg_options: Mapping[str, Any] | None = None) -> Config:
    """Read a config that describes a model; see :func:`load_config`.

    Raises:
        FileNotFoundError: See :func:`load_config`.
        ValueError: If it has no model either.
    """
    cfg = load_config(path, cfg_options)
    check_has_model(cfg, path)
    return cfg


def apply_cfg_options(cfg: Config, cfg_options: Mapping[str, Any]) -> None:
    """Override values of a config in place, refusing keys that nothing would read.

    A new key may be added to a dictionary with a ``type`` (its constructor refuses what it does
    not know) and at the top level where MMEngine's runner knows it; any other unknown key is an
    error, because it would be ignored in silence. So is a variable of the config file
    (``data_root``): what was made of it has its own keys, and the error names them.

    Args:
        cfg: The config.
        cfg_options: Overrides by dotted key.

    Raises:
        ValueError: If a key does not exist, or two overrides contradict one another.
        ImportError: If a module of ``custom_imports`` cannot be imported.
    """
    for key in cfg_options:
        if not all(key.split(".")):
            raise ValueError(f"--cfg-options {key}: a part between the dots is empty.")
        _check_variable(cfg, key)
        _check_key(cfg, key)
    _check_overlap(list(cfg_options))
    cfg.merge_from_dict(dict(cfg_options))
    if any(key.partition(".")[0] == "custom_imports" for key in cfg_options):
        # Reading the file has imported what it named; this is the place for what came since.
        import_modules_from_strings(**cfg.custom_imports)


def _check_key(cfg: Config, key: str) -> None:
    node: Any = cfg._cfg_dict
    judged = False
    parts = key.split(".")
    for depth, part in enumerate(parts):
        prefix = ".".join(parts[:depth])
        if isinstance(node, Mapping):
            judged = judged or "type" in node or (depth == 1 and parts[0] in _JUDGED_SECTIONS)
            if part not in node:
                known_to_runner = depth == 0 and part in RUNNER_KEYS
                if not judged and not known_to_runner:
                    raise ValueError(_unknown_key(key, part, prefix, node))
                return
            node = node[part]
        elif isinstance(node, Sequence) and not isinstance(node, str):
            if not part.isdigit() or int(part) >= len(node):
                raise ValueError(
                    f"--cfg-options {key}: `{prefix}` is a list of {len(node)}, so `{part}` has to "
                    f"be an index from 0 to {len(node) - 1}."
                )
            node = node[int(part)]
        elif node is None:
            return
        else:
            raise ValueError(
                f"--cfg-options {key}: `{prefix}` is {node!r} and has no key `{part}`; "
                f"override `{prefix}` itself."
            )


def _check_variable(cfg: Config, key: str) -> None:
    name, _, rest = key.partition(".")
    if name in RUNNER_KEYS or name not in cfg:
        return
    places = [f"{p}.{rest}" if rest else p for p in places_of(cfg._cfg_dict, name, cfg[name])]
    remedy = (
        f" Set the keys that have its value: {', '.join(places)}."
        if places
        else runner_key_hint(name)
    )
    raise ValueError(
        f"--cfg-options {key}: `{name}` is a variable of the config file; it was used while the "
        f"file was read, and nothing reads it afterwards.{remedy}"
    )


def _check_overlap(keys: Sequence[str]) -> None:
    for key in keys:
        for other in keys:
            if other.startswith(f"{key}."):
                raise ValueError(
                    f"--cfg-options {key} and {other} set the same value: leave one of them out."
                )


def _unknown_key(key: str, part: str, prefix: str, node: Mapping[str, Any]) -> str:
    names = [str(name) for name in node if prefix or name in RUNNER_KEYS]
    close = difflib.get_close_matches(part, names, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    hint = hint if prefix or close else runner_key_hint(part)
    where = f"`{prefix}`" if prefix else "the config"
    return (
        f"--cfg-options {key}: {where} has no key `{part}`.{hint} "
        f"It has: {', '.join(sorted(names))}."
    )


def _similar_files(file: Path) -> str:
    if not file.suffix:
        return near_name(str(file), models_by_name()) or " `uniadapter list` names the project's."
    if not file.parent.is_dir():
        return f" Its folder {file.parent} does not exist either."
    names = sorted(other.name for other in file.parent.glob(f"*{file.suffix}"))
    close = difflib.get_close_matches(file.name, names, n=3)
    return f" Did you mean {', '.join(str(file.parent / name) for name in close)}?" if close else ""
