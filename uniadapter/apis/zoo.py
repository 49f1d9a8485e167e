"""Models by name: what there is, one of them with its weights, and what prepares its inputs."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from uniadapter.models.build import build_model
from uniadapter.models.tasks import VisionLanguageModel
from uniadapter.utils.config import check_has_model, load_config
from uniadapter.utils.devices import check_device
from uniadapter.utils.model_index import ModelEntry, find_model, models_by_name
from uniadapter.utils.options import near_name
from uniadapter.utils.paths import find_config, resource

from .encoding import Preprocess, Tokenize
from .model import load_weights
from .weights import load_weights_by_name

__all__ = ["LoadedModel", "get_model", "list_models", "load_model_and_preprocess"]

CONFIG_SUFFIXES = (".py", ".json", ".yaml", ".yml")
Patterns = str | Sequence[str]


def list_models(
    pattern: Patterns | None = None,
    exclude_patterns: Patterns | None = None,
    task: str | None = None,
    pretrained: bool | None = None,
) -> list[str]:
    """Names of the zoo's models.

    Args:
        pattern: Names that begin like this, with ``*`` for any letters, whatever their case:
            ``'uniadapter'``, ``'*_clip'``; or several, one of which a name must match.
        exclude_patterns: Names like these are left out.
        task: Models of this task, or of those whose name has these words: ``'retrieval'``,
            ``'Video Question Answering'``.
        pretrained: True: models with weights; False: those without. None: all.

    Returns:
        The names, sorted.

    Raises:
        ValueError: If no model at all has such a task.
    """
    entries = list(models_by_name().values())
    if task is not None:
        tasks = sorted({own for entry in entries for own in entry.tasks})
        entries = [entry for entry in entries if entry.has_task(task)]
        if not entries:
            raise ValueError(f"No model is of the task {task!r}.{near_name(task, tasks)} {tasks}")
    if pretrained is not None:
        entries = [entry for entry in entries if (entry.weights is not None) == pretrained]
    names = [entry.name for entry in entries]
    if pattern is not None:
        names = [name for name in names if _matches(name, pattern)]
    if exclude_patterns is not None:
        names = [name for name in names if not _matches(name, exclude_patterns)]
    return sorted(names)


def _matches(name: str, patterns: Patterns) -> bool:
    """Whether a name begins like one of some patterns."""
    listed = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(name.lower(), f"{one.lower()}*") for one in listed)


def get_model(
    model: str | Path | Config,
    pretrained: bool | str | Path = False,
    device: str | torch.device | None = None,
    download: bool = False,
    **kwargs: Any,
) -> VisionLanguageModel:
    """Build a model of the zoo or of a config.

    Args:
        model (str | Path | Config): A name of :func:`list_models`, the file of a config, or a
            config.
        pretrained (bool | str | Path): False: random weights. True: those of its name. Or a
            checkpoint, see :func:`uniadapter.apis.load_weights`, or the name of another model
            whose weights are to be loaded, such as a backbone. Defaults to False.
        device (str | torch.device, optional): Where the model goes. Defaults to the CPU.
        download (bool): Fetch weights of the zoo that are not here and have a public address,
            see :func:`uniadapter.apis.find_weights`. Defaults to False.
        **kwargs: Keys of the config's ``model`` to change: ``adapter=dict(bottleneck=64)`` is
            merged, ``adapter=None`` replaces.

    Returns:
        VisionLanguageModel: In evaluation mode; its config is under the attribute ``cfg``.

    Raises:
        ConnectionError: If weights can't be fetched.
        FileNotFoundError: If a file does not exist; the error of weights by name says which file
            to put where.
        ValueError: If a name is unknown, an option is wrong, there are no weights, or they are of
            another model.
    """
    if device is not None:
        check_device(device)
    config, entry = _config_of(model)
    if kwargs:
        config.merge_from_dict({"model": kwargs})
    check_has_model(config, config.filename)
    built = build_model(config.model.to_dict())
    _load(built, entry, pretrained, download)
    built.cfg = config
    return built.to(device or "cpu").eval()


class LoadedModel(NamedTuple):
    """A model and what prepares its inputs.

    Attributes:
        model: In evaluation mode.
        preprocess: From media to pixels.
        tokenizer: From texts to ids and mask.
    """

    model: VisionLanguageModel
    preprocess: Preprocess
    tokenizer: Tokenize


def load_model_and_preprocess(
    model: str | Path | Config,
    pretrained: bool | str | Path = True,
    device: str | torch.device | None = None,
    download: bool = False,
    **kwargs: Any,
) -> LoadedModel:
    """Build a model that reads pictures or videos, with what prepares its inputs.

    ::

        model, preprocess, tokenizer = load_model_and_preprocess('blip_tiny')
        _, media, _ = model.encode_visual(preprocess('a.png'))     # (1, E)
        _, texts = model.encode_text(*tokenizer(['a red ball']))    # (1, E)

    Args:
        model (str | Path | Config): See :func:`get_model`, as are the others.
        pretrained (bool | str | Path): Defaults to True.
        device (str | torch.device, optional): Where model and inputs go.
        download (bool): Fetch weights that are not here. Defaults to False.
        **kwargs: Keys of the config's ``model`` to change.

    Returns:
        LoadedModel: Model, pixel transform and tokenizer.

    Raises:
        ConnectionError: As :func:`get_model`.
        FileNotFoundError: As :func:`get_model`.
        ValueError: As :func:`get_model`; or if the config tests on no pictures or videos.
    """
    loaded = get_model(model, pretrained, device, download, **kwargs)
    return LoadedModel(loaded, Preprocess(loaded), Tokenize(loaded))


def _config_of(model: Any) -> tuple[Config, ModelEntry | None]:
    """A config that may be changed, and the entry of the zoo that it belongs to."""
    if isinstance(model, Config):
        entry = _entry_of(model.filename)
        return Config(model.to_dict(), filename=model.filename), entry
    if not isinstance(model, (str, Path)):
        raise ValueError(
            f"A model is a name of list_models(), a config or its file, got {type(model).__name__}."
        )
    if Path(model).suffix in CONFIG_SUFFIXES:
        return load_config(model), _entry_of(model)
    entry = find_model(str(model))
    return load_config(resource(entry.config)), entry


def _entry_of(file: str | Path | None) -> ModelEntry | None:
    """The entry whose config a file is."""
    if file is None:
        return None
    path = find_config(file).resolve()
    # Names end alike only where files may be the same.
    alike = [e for e in models_by_name().values() if path.name == Path(e.config).name]
    return next((e for e in alike if resource(e.config).resolve() == path), None)


def _load(model: Any, entry: ModelEntry | None, pretrained: Any, download: bool) -> None:
    """Load what ``pretrained`` stands for."""
    if pretrained is False:
        return
    if pretrained is True:
        if entry is None:
            raise ValueError(
                "pretrained=True: this config is none of the project's. Name a file, "
                "pretrained='FILE', or call init_model, which loads model.pretrained."
            )
        load_weights_by_name(model, entry.name, download)
        return
    if not isinstance(pretrained, (str, Path)):
        raise ValueError(f"pretrained is True, False, a file or a name, got {pretrained!r}.")
    known, name = models_by_name(), str(pretrained)
    if not Path(pretrained).exists() and name in known:
        load_weights_by_name(model, name, download)
        return
    if not Path(pretrained).exists() and Path(pretrained).name == Path(pretrained).stem == name:
        raise FileNotFoundError(
            f"pretrained={name!r} is neither a file nor the name of a model."
            f"{near_name(name, known)}"
        )
    load_weights(model, pretrained)
