"""Weights by name: found here first, fetched only when asked, always checked.

A file is looked for in ``$UNIADAPTER_HOME`` (``~/.cache/uniadapter`` where it is not set), in the
project's own folder and in the current one, under the path that its entry has:
``checkpoints/model_base.pth``. What is fetched goes to the first of these.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mmengine.logging import print_log

from uniadapter.checkpoints import load_weights
from uniadapter.checkpoints.backbone import load_backbone
from uniadapter.checkpoints.layouts import read_checkpoint
from uniadapter.utils.download import check_file, download
from uniadapter.utils.model_index import find_model
from uniadapter.utils.paths import home, search_folders

__all__ = ["WeightFile", "find_weights", "load_weights_by_name", "weights_of"]

#: Folder of fetched files, in each of those that are looked in.
_FOLDER = "checkpoints"


@dataclass(frozen=True)
class WeightFile:
    """A file of weights by the name of its model.

    Attributes:
        name: Of the model.
        path: Where it lies, relative to the folders that are looked in: one of the project's own
            files, or, of a public one, ``checkpoints/`` and its name.
        url: Its public address; None of the project's own.
        sha256: Its digest; None where nobody published one.
        size: Its bytes; None where nobody said.
        layout: Whose names its tensors have; None: this package's.
    """

    name: str
    path: str
    url: str | None = None
    sha256: str | None = None
    size: int | None = None
    layout: str | None = None

    @property
    def verified(self) -> bool:
        """Whether a digest shows that a file is this one."""
        return self.sha256 is not None


def weight_file(model: Mapping[str, Any]) -> WeightFile | None:
    """The file of a model's weights.

    Args:
        model: Its entry, as a metafile has it. ``Weights`` is a file of the project or an address;
            ``Converted From`` holds the address of a file in another project's layout.

    Returns:
        None of a model without weights.
    """
    foreign = model.get("Converted From")
    facts = foreign or model
    place = facts.get("Weights")
    if place is None:
        return None
    public = place.startswith(("http://", "https://"))
    # Some addresses end in a name that says too little.
    file = facts.get("File") or Path(unquote(urlsplit(place).path)).name
    return WeightFile(
        model["Name"],
        f"{_FOLDER}/{file}" if public else place,
        place if public else None,
        facts.get("SHA256"),
        facts.get("Size"),
        foreign["Layout"] if foreign else None,
    )


def weights_of(name: str) -> WeightFile:
    """The weights that the zoo has under a name.

    Args:
        name: Of an entry that has weights.

    Raises:
        ValueError: If there is no such entry, or it has no weights.
    """
    entry = find_model(name)
    found = weight_file(entry.meta)
    if found is not None:
        return found
    paper = [source for source in entry.sources() if source.startswith("paper")]
    reason = f"; its figures are the paper's ({paper[0]})" if paper else ""
    raise ValueError(
        f"No weights of {entry.name} are published{reason}. pretrained=False builds it without; "
        "pretrained='FILE' (--checkpoint FILE) loads your own; pretrained='NAME' those of an entry "
        "of list_models(pretrained=True), such as its backbone's."
    )


def find_weights(name: str, download: bool = False) -> Path:
    """The file of weights by name, checked against its size and digest where they are known.

    Args:
        name: Of an entry of :func:`uniadapter.apis.list_models` that has weights.
        download: Fetch the file where it is not here and has a public address.

    Returns:
        The file.

    Raises:
        ConnectionError: If it can't be fetched.
        FileNotFoundError: If it is not here and was not asked for; the error says which file to
            put where.
        ValueError: If there are no such weights, or the file is not the expected one.
    """
    weights = weights_of(name)
    places = [folder / weights.path for folder in search_folders()]
    for place in places:
        if place.is_file():
            return _checked(place, weights)
    target = home() / weights.path
    if download and weights.url is not None:
        return _fetched(weights, target)
    looked = ", ".join(str(place) for place in places)
    if weights.url is None:
        raise FileNotFoundError(f"Weights {name!r} are missing from this installation: {looked}.")
    raise FileNotFoundError(
        f"Weights {name!r} are not here (looked for {looked}). download=True, or `uniadapter "
        f"download {weights.name}`, fetches {_described(weights)}; or bring "
        f"that file here by other means, as {target}."
    )


def load_weights_by_name(model: Any, name: str, download: bool = False) -> None:
    """Load weights of the zoo into a model.

    Args:
        model (VisionLanguageModel): The model.
        name: Of an entry that has weights: those of all of the model, or of its backbone.
        download: See :func:`find_weights`.

    Raises:
        ConnectionError: See :func:`find_weights`.
        FileNotFoundError: See :func:`find_weights`.
        ValueError: See :func:`find_weights`; or if the weights are of another model.
    """
    weights, path = weights_of(name), find_weights(name, download)
    if weights.layout is None:
        load_weights(model, path)
        return
    state, _ = read_checkpoint(path, weights.layout, model)
    load_backbone(model, path, state)
    model.on_weights_loaded()


def _checked(place: Path, weights: WeightFile) -> Path:
    try:
        return check_file(place, weights.sha256, weights.size)
    except ValueError as error:
        raise ValueError(
            f"{error} It is not the file of {weights.name!r}: remove it, and get "
            f"{_described(weights)} again."
        ) from error


def _fetched(weights: WeightFile, target: Path) -> Path:
    print_log(f"Fetching {_described(weights)} to {target}.", "current")
    path = download(str(weights.url), target, weights.sha256, weights.size)
    if not weights.verified:
        print_log(f"{path} is unverified: nobody published its sha256.", "current", logging.WARNING)
    return path


def _described(weights: WeightFile) -> str:
    """The file in words."""
    size = "size unknown" if weights.size is None else f"{weights.size / 2**20:,.0f} MiB"
    kind = "" if weights.verified else ", unverified"
    return f"{weights.url or weights.path} ({size}{kind})"
