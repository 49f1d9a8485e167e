"""The folders of adapters by name, and loading one beside those that a model has."""

from __future__ import annotations

import re
from pathlib import Path

from uniadapter.checkpoints.files import CONFIG_NAME, WEIGHTS_NAME, is_adapter
from uniadapter.checkpoints.plain_config import is_plain_name
from uniadapter.models.tasks import VisionLanguageModel
from uniadapter.utils.model_index import models_by_name
from uniadapter.utils.paths import search_folders

from .weights import find_weights, weight_file

__all__ = ["find_adapter", "load_adapter"]

_CHECKPOINTS = "checkpoints"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
# Of a repository: weights, JSON and vocabularies.
_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.gz"]


def find_adapter(name: str | Path, download: bool = False) -> Path:
    """The folder of an adapter.

    Args:
        name (str | Path): A folder, or the safetensors file in it; the name of a published folder
            in ``$UNIADAPTER_HOME``, the project or the current folder, or in ``checkpoints/`` of
            one of these; the name of a metafile's entry whose weights lie in such a folder; with
            ``download`` also a repository of the Hugging Face Hub, ``'user/name'``.
        download (bool): Fetch a repository of the Hub. Defaults to False.

    Returns:
        Path: The folder.

    Raises:
        FileNotFoundError: If there is none.
        ImportError: If a repository is to be fetched without huggingface_hub.
        ValueError: If the weights of an entry are not the expected ones.
    """
    path, name = Path(name), str(name)
    if path.is_dir():
        return path
    if is_adapter(path):
        return path.parent
    if is_plain_name(name):
        roots = [place for root in search_folders() for place in (root, root / _CHECKPOINTS)]
        for folder in (root / name for root in roots):
            if (folder / CONFIG_NAME).is_file():
                return folder
        entry = models_by_name().get(name)
        weights = None if entry is None else weight_file(entry.meta)
        if weights is not None and weights.url is None and Path(weights.path).name == WEIGHTS_NAME:
            return find_weights(name).parent
        if entry is not None:
            raise FileNotFoundError(
                f"{name} is a model of the zoo without the folder of an adapter: get_model({name!r}"
                ") builds it; train it, and name the folder that its run exports."
            )
    if download and _REPOSITORY.fullmatch(name):
        return _from_hub(name)
    raise FileNotFoundError(
        f"{name} is no folder: name the folder of an adapter, a published one that lies in "
        f"$UNIADAPTER_HOME, or, with download=True, a repository of the Hugging Face Hub "
        "(user/name)."
    )


def load_adapter(
    model: VisionLanguageModel,
    folder_or_name: str | Path,
    name: str | None = None,
    check_backbone: bool = True,
    download: bool = False,
) -> str:
    """Load an adapter beside those that a model has, see :meth:`.NamedAdapters.load_adapter`.

    Args:
        model (VisionLanguageModel): The model; its active adapter goes on acting.
        folder_or_name (str | Path): See :func:`find_adapter`.
        name (str, optional): What it is called from now on. Defaults to the last part of
            ``folder_or_name``.
        check_backbone (bool): Refuse an adapter of another backbone. Defaults to True.
        download (bool): Fetch a repository of the Hugging Face Hub. Defaults to False.

    Returns:
        str: The name.

    Raises:
        FileNotFoundError: If there is no such folder, or one of its files is missing.
        ValueError: If it does not fit this model or this backbone, or the name is taken.
    """
    folder = find_adapter(folder_or_name, download)
    if name is None and not Path(folder_or_name).exists():
        # The folder of what was fetched is called by its digest.
        name = Path(folder_or_name).name
    return model.load_adapter(folder, name, check_backbone)


def _from_hub(name: str) -> Path:
    """The folder of a repository of the Hugging Face Hub, fetched."""
    try:
        # Imported here: nothing else of the package knows the Hub.
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"Fetching {name} needs huggingface_hub: pip install huggingface_hub."
        ) from error
    return Path(snapshot_download(name, allow_patterns=_FETCHED))
