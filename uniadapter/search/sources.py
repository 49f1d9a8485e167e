"""Where an engine's model comes from, as an index remembers it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from uniadapter.apis.export import is_exported
from uniadapter.apis.inferencers.base import model_of
from uniadapter.apis.inferencers.retrieval import ranking_of
from uniadapter.models.tasks import RetrievalModel

from .engine import SearchEngine, TorchEngine
from .index import SearchIndex
from .onnx_engine import OnnxEngine
from .searcher import Searcher


def source_of(
    model: str,
    checkpoint: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    tokens: bool = True,
) -> dict[str, Any]:
    """What an index remembers of a model.

    Args:
        model: A name of the zoo, a config, or the folder of an export.
        checkpoint: Weights: a checkpoint or the folder of an adapter. None: those of the name, or
            of the config's ``model.pretrained``.
        cfg_options: Overrides of a config.
        tokens: Whether shots are re-ranked where the model can, for which their tokens are kept.

    Returns:
        Plain values; files by their whole paths.
    """
    return {
        "model": whole_path(model),
        "checkpoint": None if checkpoint is None else whole_path(checkpoint),
        "cfg_options": dict(cfg_options or {}),
        "tokens": tokens,
    }


def whole_path(name: str) -> str:
    """The whole path of a file or folder; any other name as it is."""
    return os.path.abspath(name) if os.path.exists(name) else name


def engine_of(source: Mapping[str, Any], device: str | None = None) -> SearchEngine:
    """The engine that a source stands for.

    Args:
        source: Of :func:`source_of`.
        device: Where it runs. None: on a GPU if there is one; an export on the CPU.

    Raises:
        FileNotFoundError: If config or weights do not exist.
        ValueError: If there is no source, the model is of another task, or an option is wrong.
    """
    if not source:
        raise ValueError("The index remembers no model; give one with --model.")
    model, checkpoint, options = source["model"], source["checkpoint"], source["cfg_options"]
    if is_exported(model):
        if checkpoint is not None or options:
            raise ValueError(
                f"{model} is exported, with its weights: give no others and no config."
            )
        engine = OnnxEngine(model, device=device or "cpu")
        if source["tokens"]:
            return engine
        return OnnxEngine(model, replace(engine.options, k_test=0), device or "cpu")
    built = model_of(model, True if checkpoint is None else checkpoint, device, options or None)
    if isinstance(built, RetrievalModel) and not source["tokens"]:
        return TorchEngine(built, ranking_of(built, {"k_test": 0}))
    return TorchEngine(built)


def open_searcher(
    folder: str | Path,
    model: str | None = None,
    checkpoint: str | None = None,
    device: str | None = None,
) -> Searcher:
    """What searches an index, with the model that it remembers.

    Args:
        folder: Of the index, or the folder that it is of.
        model: Where the model is now, see :func:`source_of`. None: where it was.
        checkpoint: Its weights, with ``model``.
        device: See :func:`engine_of`.

    Raises:
        FileNotFoundError: If there is no index, or its model is not where it was.
        ValueError: If the model is another one than the index was made with, or one of them is
            damaged.
    """
    index = SearchIndex.open(folder)
    source = chosen_source(index.settings.source, model, checkpoint)
    return Searcher(index, engine_of(source, device))


def chosen_source(
    known: Mapping[str, Any],
    model: str | None,
    checkpoint: str | None,
    cfg_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The source that is given, or else the one that is known.

    Raises:
        ValueError: If weights or options are given without a model.
    """
    if model is None:
        if checkpoint is not None or cfg_options:
            raise ValueError("--checkpoint and --cfg-options belong to a model: give --model, too.")
        return dict(known)
    return source_of(model, checkpoint, cfg_options, known.get("tokens", True))
