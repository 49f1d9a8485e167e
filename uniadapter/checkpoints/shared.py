"""An adapter's folder that needs nothing else but its backbone: written for others, and read."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from uniadapter.registry import TRANSFORMS
from uniadapter.utils.download import sha256_of
from uniadapter.utils.paths import find_file
from uniadapter.utils.safe_folders import staged_folder
from uniadapter.utils.safe_io import atomic_write
from uniadapter.version import __version__

from .adapter import save_adapter
from .files import CONFIG_KEYS, CONFIG_NAME, WEIGHTS_NAME, Content, read_adapter, read_json, write
from .plain_config import (
    OF_MODELS,
    change_files,
    check_data,
    is_plain_name,
    to_json,
)
from .state import part_names, scalar_names, trained_state_dict

BACKBONE_NAME = "backbone.safetensors"
CARD_NAME = "README.md"
_OWN_NAMES = (CONFIG_NAME, WEIGHTS_NAME, BACKBONE_NAME, CARD_NAME)
# Of the model's options, what belongs to the machine it was trained on.
_NOT_SHARED = ("pretrained", "prefix_cache")
_BACKBONE_KEYS = ("name", "file", "sha256", "url")


def save_shared(
    model: Any,
    folder: str | Path,
    config: Mapping[str, Any],
    with_backbone: bool = False,
    backbone_url: str | None = None,
    values: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Write an adapter's folder with all that builds its model, and the files of its tokenizer.

    Args:
        model (VisionLanguageModel): The model.
        folder (str | Path): Where; see :func:`save_adapter`.
        config (Mapping): The whole config, of which ``model`` and the pipeline of the test (or
            validation) data are kept.
        with_backbone (bool): Put the frozen towers and heads beside it as well. Otherwise the
            folder says which file they are. Defaults to False.
        backbone_url (str, optional): Where others get that file.
        values (Mapping, optional): See :func:`save_adapter`.

    Returns:
        Path: The folder.

    Raises:
        FileNotFoundError: If the backbone's file or one of the tokenizer does not exist.
        ValueError: If the config holds anything but data, the model was cast to half precision,
            weights are not finite, or the backbone is of no file and is not to be saved.
        WriteError: If the disk is full, read-only or the like; the folder is as it was before.
    """
    folder = Path(folder)
    if model.frozen_dtype is not None:
        raise ValueError(
            f"The frozen weights were cast to {model.frozen_dtype}: save a model that was not."
        )
    if getattr(model.adapter, "merged", False):
        raise ValueError("The adapter is merged into the backbone: unmerge() it before saving.")
    _check_finite(dict(values or trained_state_dict(model)), "The model")
    with staged_folder(folder, CONFIG_NAME) as inside:
        entry = _describe_backbone(model, inside, with_backbone, backbone_url)
        files: dict[str, str] = {}
        described = _model_config(model, config["model"], inside, files)
        more = {
            "uniadapter_version": __version__,
            "backbone": entry,
            "model": described,
            **facts_of(model, described),
            "pipeline": data_pipeline(config),
            "files": files,
        }
        save_adapter(model, inside, values)
        path = inside / CONFIG_NAME
        whole = {**read_json(path, "save it again"), **more}
        atomic_write(path, (json.dumps(whole, indent=2, allow_nan=False) + "\n").encode())
    return folder


def _check_finite(tensors: Mapping[str, torch.Tensor], where: object) -> None:
    for name, tensor in sorted(tensors.items()):
        # Floats of eight bits can't be asked.
        asked = tensor.float() if tensor.element_size() == 1 else tensor
        if tensor.is_floating_point() and not bool(asked.isfinite().all()):
            raise ValueError(
                f"{where}: {name} holds values that are not finite: the training diverged, take an "
                "earlier checkpoint."
            )


def _describe_backbone(
    model: Any, folder: Path, with_backbone: bool, url: str | None
) -> dict[str, Any] | None:
    """Which file has what the folder's weights leave out; None where they leave out nothing."""
    parts = (*model.towers().values(), *model.heads().values())
    if all(parameter.requires_grad for part in parts for parameter in part.parameters()):
        return None
    if with_backbone:
        state = model.state_dict()
        names = part_names(model, (*model.towers(), *model.heads())) | scalar_names(model)
        write(folder / BACKBONE_NAME, {name: state[name] for name in sorted(names)})
        path, name = folder / BACKBONE_NAME, "backbone"
    elif model.pretrained is None:
        raise ValueError(
            "The model's frozen towers are of no file (model.pretrained is None), so nobody could "
            "find them: pass with_backbone=True, which saves them beside the adapter."
        )
    else:
        path = find_file(model.pretrained)
        if not path.is_file():
            raise FileNotFoundError(
                f"model.pretrained={model.pretrained} does not exist, and the folder has to say "
                "its SHA-256: put it there, or pass with_backbone=True."
            )
        name = path.stem
    return {"name": name, "file": path.name, "sha256": sha256_of(path), "url": url}


def _model_config(
    model: Any, config: Mapping[str, Any], folder: Path, files: dict[str, str]
) -> dict[str, Any]:
    """The model's config as data, the files that it names copied into the folder."""
    kept = {key: value for key, value in dict(config).items() if key not in _NOT_SHARED}
    # What the JSON has as an extra is loaded from there.
    kept.update({key: None for key in model.adapter_extras() if isinstance(kept.get(key), str)})
    if not getattr(model, "has_first_adapter", True):
        # Another one than the config's acts, and is saved.
        adapter = model.adapter
        kept["adapter"] = adapter and {"type": adapter.method, **adapter.options}
        kept.update({key: None for key in model.adapter_extras() if key in kept})
    plain = to_json(kept, "model")
    if isinstance(plain.get("data_preprocessor"), dict):
        plain["data_preprocessor"] = preprocessor_of(model, plain)
    return copy_files(plain, "model", folder, files)


def preprocessor_of(model: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model's data preprocessor as data, its tokenizer with a type.

    Args:
        model (VisionLanguageModel): The model.
        config (Mapping): Its config.

    Raises:
        ValueError: If it holds anything but data.
    """
    plain: dict[str, Any] = to_json(config["data_preprocessor"], "model.data_preprocessor")
    tokenizer = getattr(model.data_preprocessor, "tokenizer", None)
    if tokenizer is not None:
        given = plain.get("tokenizer") or {}
        plain["tokenizer"] = {"type": type(tokenizer).__name__, **given}
    return plain


def copy_files(
    config: dict[str, Any], key: str, folder: Path, files: dict[str, str]
) -> dict[str, Any]:
    """Copy the files that a config names into a folder, and name the copies.

    Args:
        config (dict): The config as data, changed in place.
        key (str): Where it stands.
        folder (Path): The folder, made if missing.
        files (dict): SHA-256 of the folder's files by name, to which those are added.

    Returns:
        dict: The config.

    Raises:
        FileNotFoundError: If one does not exist.
        ValueError: If two have one name.
    """

    def copied(key: str, name: str) -> str:
        source = find_file(name)
        if source.is_dir():
            source = source / "tokenizer.json"
        if not source.is_file():
            raise FileNotFoundError(f"{key}={name} does not exist, and the folder has to hold it.")
        target = source.name
        if target in _OWN_NAMES or not is_plain_name(target):
            target = f"tokenizer{source.suffix}"
        digest = sha256_of(source)
        if files.setdefault(target, digest) != digest:
            raise ValueError(f"{key}={name}: another file of the folder has the name {target}.")
        if source.resolve() != (folder / target).resolve():
            atomic_write(folder / target, source.read_bytes())
        return target

    return dict(change_files(config, key, copied))


def facts_of(model: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the JSON wants to know first; all of it follows from the model's config.

    Args:
        model (VisionLanguageModel): The model.
        config (Mapping): Its config, as the JSON has it.

    Returns:
        dict: ``tokenizer``, ``image_size`` in pixels, ``mean`` and ``std`` of the channels in units
        of 0..255 and ``text_length`` in tokens; None of what the model does not have.
    """
    preprocessor = model.data_preprocessor

    def numbers(name: str) -> list[float] | None:
        found = getattr(preprocessor, name, None)
        # The shortest decimals that are the same float32.
        return None if found is None else [float(str(x)) for x in found.flatten().cpu().numpy()]

    sides = getattr(model.visual, "img_size", None)
    return {
        "tokenizer": (config.get("data_preprocessor") or {}).get("tokenizer"),
        "image_size": sides[0] if isinstance(sides, tuple) else sides,
        "mean": numbers("mean"),
        "std": numbers("std"),
        "text_length": getattr(preprocessor, "max_text_len", None),
    }


def data_pipeline(config: Mapping[str, Any]) -> list[Any] | None:
    """Transforms of the data that a config's model is tested on; None if there are none."""
    for split in ("test_dataloader", "val_dataloader"):
        loaders = config.get(split) or {}
        loader = loaders[0] if isinstance(loaders, list | tuple) else loaders
        dataset = loader.get("dataset") or {}
        while "pipeline" not in dataset and isinstance(dataset.get("dataset"), Mapping):
            dataset = dataset["dataset"]
        if dataset.get("pipeline"):
            return list(to_json(dataset["pipeline"], f"{split}.dataset.pipeline"))
    return None


def read_shared(folder: Path) -> Content:
    """Read a folder that :func:`save_shared` wrote, as a stranger's: nothing of it is trusted.

    Args:
        folder (Path): The folder.

    Returns:
        Content: Tensors, and the JSON as ``meta``. In ``meta['model']`` files of the folder have
        their whole path.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is damaged, the JSON lacks what builds a model, has keys or types that
            are unknown, or names files outside the folder.
    """
    content = read_adapter(folder)
    path, meta = folder / CONFIG_NAME, content.meta
    for key in ("model", "files", "backbone"):
        if key not in meta:
            raise ValueError(
                f"{path} lacks the key {key!r}: save_adapter wrote it, which saves no config. Load "
                "it with init_model(config, folder), and write a folder that says all with "
                "model.save_pretrained(folder)."
            )
    if unknown := sorted(set(meta) - set(CONFIG_KEYS)):
        raise ValueError(
            f"{path} has the unknown key {unknown[0]!r}: a newer version of uniadapter wrote it, "
            "install that, or it was edited."
        )
    _check_backbone(path, meta["backbone"])
    model = meta["model"]
    if kept := [key for key in _NOT_SHARED if key in model]:
        raise ValueError(
            f"{path}: model.{kept[0]} is a matter of the machine that loads it: take it out."
        )
    check_data(model, "model", OF_MODELS, path)
    preprocessor = model.get("data_preprocessor")
    tokenizer = preprocessor.get("tokenizer") if isinstance(preprocessor, dict) else None
    if tokenizer is not None and not (isinstance(tokenizer, dict) and "type" in tokenizer):
        raise ValueError(f"{path}: model.data_preprocessor.tokenizer has no type: save it again.")
    for index, step in enumerate(meta.get("pipeline") or ()):
        if not (isinstance(step, dict) and "type" in step):
            raise ValueError(f"{path}: pipeline.{index} has no type, and a transform has one.")
    check_data(meta.get("pipeline"), "pipeline", (TRANSFORMS,), path)
    _check_files(path, meta["files"])

    def placed(key: str, name: str) -> str:
        if name not in meta["files"]:
            raise ValueError(
                f"{path}: {key}={name!r:.80} is no file of the folder (files): a folder names no "
                "file outside it, copy it into the folder."
            )
        return str(folder / name)

    meta["model"] = change_files(copy.deepcopy(model), "model", placed)
    _check_finite(content.tensors, folder / WEIGHTS_NAME)
    return content


def _check_backbone(path: Path, entry: Any) -> None:
    """Refuse a description of a backbone that is none."""
    if entry is None:
        return
    if unknown := sorted(set(entry) - set(_BACKBONE_KEYS)):
        raise ValueError(f"{path}: backbone has the unknown key {unknown[0]!r}: take it out.")
    for key in _BACKBONE_KEYS:
        value = entry.get(key)
        optional = key in ("sha256", "url") and value is None
        if key not in entry or not (optional or isinstance(value, str)):
            raise ValueError(f"{path}: backbone.{key} must be a string: save the folder again.")
    for key in ("name", "file"):
        if not is_plain_name(entry[key]):
            raise ValueError(
                f"{path}: backbone.{key}={entry[key]!r:.80} must be a name without a folder."
            )
    digest = entry["sha256"]
    if digest is not None and not (len(digest) == 64 and set(digest) <= set("0123456789abcdef")):
        raise ValueError(f"{path}: backbone.sha256={digest!r:.80} is no SHA-256 of 64 digits.")
    if entry["url"] is not None and not entry["url"].startswith(("https://", "http://")):
        raise ValueError(f"{path}: backbone.url={entry['url']!r:.80} is no address of the web.")


def _check_files(path: Path, files: Mapping[str, Any]) -> None:
    """Refuse files that lie elsewhere, are missing or are not those that were saved."""
    for name, digest in files.items():
        if not is_plain_name(name):
            raise ValueError(f"{path}: files has {name!r:.80}, which is no name of a file in it.")
        file = path.parent / name
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing beside {CONFIG_NAME}: copy all files.")
        if sha256_of(file) != digest:
            raise ValueError(
                f"{file} is not the file that was saved (files in {CONFIG_NAME} has another "
                "SHA-256): copy the folder again."
            )


def check_facts(path: Path, meta: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse a JSON that says something else than the model which it describes.

    Args:
        path (Path): The JSON, for the error.
        meta (Mapping): What it says.
        own (Mapping): :func:`facts_of` the model.
    """
    for key, value in own.items():
        if key in meta and meta[key] != value:
            raise ValueError(
                f"{path}: {key}={meta[key]!r:.80}, but its model has {value!r:.80}: it was edited; "
                "correct the options of model, or copy the folder again."
            )
