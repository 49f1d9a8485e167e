"""A model from the folder of an adapter alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from uniadapter.checkpoints import load_weights
from uniadapter.checkpoints.files import CONFIG_NAME
from uniadapter.checkpoints.plain_config import OF_MODELS, find_type
from uniadapter.checkpoints.shared import check_facts, facts_of, read_shared
from uniadapter.datasets.transforms import PackInputs
from uniadapter.models.build import build_model
from uniadapter.models.tasks import VisionLanguageModel
from uniadapter.registry import TRANSFORMS
from uniadapter.utils.devices import check_device
from uniadapter.utils.download import download as download_file
from uniadapter.utils.download import sha256_of
from uniadapter.utils.paths import home, resources_root, search_folders

from .adapters import find_adapter
from .inputs import InputReader

_CHECKPOINTS = "checkpoints"


class AutoAdapterModel:
    """Loads what :meth:`~uniadapter.models.tasks.VisionLanguageModel.save_pretrained` wrote.

    .. code-block:: python

        model = AutoAdapterModel.from_pretrained('my_adapter')
    """

    @staticmethod
    def from_pretrained(
        folder: str | Path,
        backbone: str | Path | None = None,
        device: str | torch.device = "cpu",
        download: bool = False,
    ) -> VisionLanguageModel:
        """Build the model of a folder and load its weights; no code of the folder runs.

        Args:
            folder (str | Path): Folder with ``adapter_config.json`` and
                ``adapter_model.safetensors``, or a name, see :func:`.adapters.find_adapter`.
            backbone (str | Path, optional): File of the frozen backbone. Defaults to None: it is
                looked for by its name and SHA-256.
            device (str | torch.device): Where the model goes. Defaults to ``'cpu'``.
            download (bool): Fetch what is not here: a repository of the Hub, and the backbone from
                its address, if its SHA-256 is known. Defaults to False.

        Returns:
            VisionLanguageModel: In evaluation mode. ``tokenizer`` makes ids of texts. ``transform``
            is an :class:`InputReader`, which makes of pictures and videos what the data
            preprocessor takes; None if the folder was saved without the pipeline of test data.
            ``cfg`` is the config.

        Raises:
            FileNotFoundError: If the folder, one of its files or the backbone is missing; the error
                says which file to put where.
            ValueError: If a file is damaged, or names anything but registered types and files of
                the folder; the error names file, key and remedy.
        """
        check_device(device)
        folder = find_adapter(folder, download)
        meta = read_shared(folder).meta
        config = dict(meta["model"])
        config["pretrained"] = _find_backbone(folder, meta["backbone"], backbone, download)
        path = folder / CONFIG_NAME
        task = find_type(config.get("type"), OF_MODELS)
        if isinstance(task, type) and not issubclass(task, VisionLanguageModel):
            raise ValueError(f"{path}: model.type={config['type']!r} is no task of this package.")
        with _said_of(path):
            model = build_model(config)
        check_facts(path, meta, _placed(facts_of(model, config), meta))
        with _said_of(path):
            load_weights(model, folder)
        pipeline = meta.get("pipeline")
        loader = {} if pipeline is None else {"dataset": {"pipeline": pipeline}}
        model.cfg = Config({"model": config, "test_dataloader": loader})
        if _packs_pictures(pipeline or []):
            with _said_of(path):
                model.transform = InputReader(model)
        return model.to(device).eval()


def _packs_pictures(pipeline: list[dict[str, Any]]) -> bool:
    """Whether a pipeline gives pictures; others give texts or kept features."""
    kinds = [find_type(step["type"], (TRANSFORMS,)) for step in pipeline]
    return any(isinstance(kind, type) and issubclass(kind, PackInputs) for kind in kinds)


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    """Say of the JSON what its values make constructors and loaders stumble over."""
    try:
        yield
    except (ImportError, FileNotFoundError):
        # A package or a file is missing, which they say themselves.
        raise
    except Exception as error:
        # A stranger's values can make them raise anything.
        if isinstance(error, ValueError) and str(path.parent) in str(error):
            raise
        raise ValueError(f"{path}: its model can't be built: {error or type(error)}") from error


def _placed(facts: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """Facts of a model whose tokenizer reads files of the folder, by their names there."""
    tokenizer = facts["tokenizer"]
    if isinstance(tokenizer, dict):
        paths = {key: Path(item).name for key, item in tokenizer.items() if isinstance(item, str)}
        names = {key: name for key, name in paths.items() if name in meta["files"]}
        facts["tokenizer"] = {**tokenizer, **names}
    return facts


def _find_backbone(
    folder: Path, entry: dict[str, Any] | None, given: str | Path | None, fetch: bool
) -> str | None:
    """Path of the backbone's file; None for a folder that needs none."""
    if given is not None:
        if entry is None:
            raise ValueError(f"backbone={given}: {folder} leaves no weights out, so none is read.")
        if not Path(given).is_file():
            raise FileNotFoundError(f"backbone={given} does not exist.")
        return str(given)
    if entry is None:
        return None
    others = []
    for path in _places(folder, entry["file"]):
        if path.is_file():
            if entry["sha256"] in (None, sha256_of(path)):
                return str(path)
            others.append(str(path))
    target = home() / _CHECKPOINTS / entry["file"]
    if fetch and entry["url"] and entry["sha256"]:
        return str(download_file(entry["url"], target, entry["sha256"]))
    found = f" {', '.join(others)} has another SHA-256." if others else ""
    source = f" It is at {entry['url']}, and download=True fetches it." if entry["url"] else ""
    raise FileNotFoundError(
        f"{folder} needs the backbone {entry['name']}: put {entry['file']} (sha256 "
        f"{entry['sha256']}) there as {target}, or pass backbone=FILE.{source}{found}"
    )


def _places(folder: Path, name: str) -> list[Path]:
    """Where a file of weights may lie, the nearest first."""
    near = [folder, *(place / _CHECKPOINTS for place in search_folders()), search_folders()[0]]
    return [*(place / name for place in near), *(resources_root() / "configs").rglob(name)]
