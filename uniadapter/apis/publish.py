"""From what a training saved to a folder that others load by itself."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from mmengine.config import Config

from uniadapter.checkpoints import trained_state_dict
from uniadapter.checkpoints.card import About, task_name, write_card
from uniadapter.checkpoints.files import CONFIG_NAME, WEIGHTS_NAME, is_adapter, read_json
from uniadapter.checkpoints.shared import CARD_NAME
from uniadapter.models.tasks import VisionLanguageModel
from uniadapter.utils.config import load_config
from uniadapter.utils.download import sha256_of
from uniadapter.utils.errors import WriteError
from uniadapter.utils.leftovers import sweep, temporary_path
from uniadapter.utils.model_index import read_metafile
from uniadapter.utils.paths import find_file
from uniadapter.utils.safe_folders import folder_lock, meaning
from uniadapter.utils.safe_io import atomic_write, writing
from uniadapter.visualization.logs import lines_of

from .auto import AutoAdapterModel
from .model import init_model

_STEP = re.compile(r"(?:epoch|iter)_(\d+)")


@dataclass(frozen=True)
class PublishOptions:
    """How an adapter is published.

    Attributes:
        config: Config that trained it. None: the one beside the checkpoint, or in the folder.
        name: What it is called. None: as the config.
        with_backbone: Put the frozen backbone beside it.
        backbone_url: Where others get the backbone.
        about: For the card; metrics, data and command are found where they are not given.
        again: A folder that is there already, with the same files, is taken for the new one, so
            that a publication that was broken off behind it is finished by another.
    """

    config: str | Path | None = None
    name: str | None = None
    with_backbone: bool = False
    backbone_url: str | None = None
    about: About = field(default_factory=About)
    again: bool = False


def publish_adapter(src: str | Path, dst: str | Path, options: PublishOptions) -> Path:
    """Write the shareable folder of an adapter, and see that it loads.

    Args:
        src: A run's folder (its best checkpoint, else its last), a training checkpoint, or the
            folder of an adapter.
        dst: Folder in which ``NAME-<8 hex>`` is made, the digits being the first of the SHA-256 of
            its weights.
        options: How.

    Returns:
        The new folder, or the one that is there with the same files.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the source is none, can't be shared, or the folder exists already.
        WriteError: If the disk is full, read-only or the like; nothing is left.
    """
    checkpoint = _checkpoint(Path(src))
    config, source = _config_of(checkpoint, options.config)
    model = init_model(config, checkpoint)
    name = options.name or (source.stem if source is not None else Path(src).resolve().name)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) is None:
        raise ValueError(f"--name {name!r}: letters, digits, '.', '_' and '-' make the name.")
    sweep(dst, folders=True)
    temporary = temporary_path(Path(dst) / name)
    with writing(Path(dst) / name):
        temporary.mkdir(parents=True)
    try:
        with meaning(Path(dst) / name, temporary):
            model.save_pretrained(temporary, config, options.with_backbone, options.backbone_url)
        digest = sha256_of(temporary / WEIGHTS_NAME)
        folder = Path(dst) / f"{name}-{digest[:8]}"
        about = _found(options.about, checkpoint, config, source)
        meta = read_json(temporary / CONFIG_NAME, "save it again")
        card = write_card(folder.name, meta, about)
        with meaning(folder, temporary):
            atomic_write(temporary / CARD_NAME, card.encode())
        _see_that_it_loads(temporary, model)
        if not (options.again and _same_files(temporary, folder)):
            _take_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _take_place(temporary: Path, folder: Path) -> None:
    """Rename what was written to what it is called, where nothing stands."""
    there = f"{folder} exists already: remove it, or give another --name."
    if folder.exists():
        raise ValueError(there)
    try:
        os.replace(temporary, folder)
    except OSError as error:
        if not folder.exists():
            raise WriteError(folder, error) from error
        # Another process has published it since.
        raise ValueError(there) from error


def _same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, to the byte."""
    names = [{p.relative_to(root) for p in root.rglob("*") if p.is_file()} for root in (one, other)]
    return names[0] == names[1] and all(
        filecmp.cmp(one / name, other / name, shallow=False) for name in names[0]
    )


def _checkpoint(src: Path) -> Path:
    """The checkpoint that a source stands for."""
    if not src.exists():
        raise FileNotFoundError(f"{src} does not exist: name a run's folder or a checkpoint.")
    if src.is_file() or is_adapter(src):
        return src
    best = sorted(src.glob("best_*.pth"), key=lambda path: path.stat().st_mtime)
    last = src / "last_checkpoint"
    if best:
        return best[-1]
    if not last.is_file():
        raise FileNotFoundError(
            f"{src} holds neither best_*.pth nor last_checkpoint nor {CONFIG_NAME}: name the "
            "folder of a run, of an adapter, or a checkpoint."
        )
    named = Path(last.read_text(encoding="utf-8", errors="replace").strip())
    # The folder may have been moved since.
    return named if named.is_file() else src / named.name


def _config_of(checkpoint: Path, given: str | Path | None) -> tuple[Config, Path | None]:
    """The config of a checkpoint, and its file if there is one."""
    if given is not None:
        return load_config(given), Path(given)
    if is_adapter(checkpoint):
        folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
        if "model" in read_json(folder / CONFIG_NAME, "copy the folder again"):
            return AutoAdapterModel.from_pretrained(folder).cfg, None
    # MMEngine puts the whole config into the folder of a run.
    found = sorted(checkpoint.parent.glob("*.py"))
    if len(found) != 1:
        raise FileNotFoundError(
            f"{checkpoint.parent} holds {len(found)} configs (*.py): name the one that trained "
            f"{checkpoint.name} with --config."
        )
    return load_config(found[0]), found[0]


def _found(about: About, checkpoint: Path, config: Config, source: Path | None) -> About:
    """Fill in what the run says and the user did not."""
    metrics, data, command = about.metrics, about.data, about.command
    if not metrics:
        metrics = _validation(checkpoint)
    if data is None:
        loaders = [config.get(f"{split}_dataloader") or {} for split in ("train", "test")]
        kinds = [str((dict(x).get("dataset") or {}).get("type", "")) for x in loaders]
        data = next((kind for kind in kinds if kind), None)
    if command is None and source is not None:
        first = source.read_text(encoding="utf-8").partition("\n")[0]
        # A config that a run has dumped names no command, and its name alone is none that runs.
        command = first.lstrip("# ") if first.startswith("#") and "tools/" in first else None
    return replace(about, metrics=metrics, data=data, command=command)


def _validation(checkpoint: Path) -> dict[str, float]:
    """Metrics of the validation that a checkpoint of a run had, by the run's log; {} if none."""
    step = _STEP.search(checkpoint.name)
    if step is None:
        # Nobody knows which validation was its.
        return {}
    logs = sorted(checkpoint.parent.glob("*/vis_data/scalars.json"))
    for log in reversed(logs):
        for row in reversed(lines_of(log)):
            if row.get("step") == int(step[1]) and "loss" not in row and "lr" not in row:
                left = ("step", "time", "data_time", "memory", "epoch", "iter")
                # Media that could not be read are said where there were some.
                return {k: v for k, v in row.items() if k not in left and (k, v) != ("skipped", 0)}
    return {}


def _see_that_it_loads(folder: Path, model: VisionLanguageModel) -> None:
    """Load the new folder as a stranger would, and compare what was trained."""
    meta = read_json(folder / CONFIG_NAME, "save it again")
    near = meta["backbone"] is None or (folder / meta["backbone"]["file"]).is_file()
    backbone = None if near else find_file(str(model.pretrained))
    found = trained_state_dict(AutoAdapterModel.from_pretrained(folder, backbone))
    for name, tensor in trained_state_dict(model).items():
        if not torch.equal(found[name], tensor):
            raise ValueError(f"{folder}: {name} was not read as it was written: report this.")


def metafile_entry(folder: Path, root: Path, config: str, collection: str) -> dict[str, Any]:
    """The entry of a published folder in a metafile.

    Args:
        folder: The folder.
        root: Folder that paths in the metafile are relative to.
        config: Config that trained it, as the metafile has it.
        collection: Name of the entry's collection.
    """
    meta = read_json(folder / CONFIG_NAME, "save it again")
    header = yaml.safe_load((folder / CARD_NAME).read_text(encoding="utf-8").split("---")[1])
    results = []
    for index in header.get("model-index", []):
        for result in index["results"]:
            figures = {metric["name"]: metric["value"] for metric in result["metrics"]}
            data = result["dataset"]["name"]
            source = f"python tools/test.py {config} {_relative(folder, root)}"
            results.append(
                {"Task": task_name(meta), "Dataset": data, "Metrics": figures, "Source": source}
            )
    weights = folder / WEIGHTS_NAME
    return {
        "Name": folder.name,
        "Config": config,
        "In Collection": collection,
        "Metadata": {"Parameters": {"trainable": meta["parameters"]}},
        "Results": results,
        "Weights": _relative(weights, root),
        "SHA256": sha256_of(weights),
    }


def _relative(path: Path, root: Path) -> str:
    path, root = path.resolve(), root.resolve()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def add_entry(metafile: str | Path, entry: Mapping[str, Any]) -> None:
    """Put an entry behind the others of a metafile, whose text stays as it is.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has an entry of that name, or its models are not its last part.
    """
    path = Path(metafile)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: name a metafile.yml.")
    with folder_lock(path.parent):
        _add_entry(path, entry)


def _add_entry(path: Path, entry: Mapping[str, Any]) -> None:
    atomic_write(path, with_entry(path, entry).encode())


def with_entry(metafile: str | Path, entry: Mapping[str, Any]) -> str:
    """The text of a metafile with an entry behind the others.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has an entry of that name, or its models are not its last part.
    """
    path = Path(metafile)
    models = read_metafile(path, needs_config=False)["Models"]
    text = path.read_text(encoding="utf-8-sig")
    if any(model["Name"] == entry["Name"] for model in models):
        raise ValueError(f"{path} has an entry {entry['Name']} already: take it out first.")
    block = yaml.safe_dump([dict(entry)], sort_keys=False, allow_unicode=True)
    new = text.rstrip("\n") + "\n" + "".join(f"  {line}\n" for line in block.splitlines())
    wanted = [*models, dict(entry)]
    try:
        fits = yaml.safe_load(new)["Models"] == wanted
    except (yaml.YAMLError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ValueError(f"{path}: `Models:`, a list indented by two, must be its last part.")
    return new
