"""A prepared collection of captioned pictures, checked before it is used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from uniadapter.datasets.readers import read_json_lines
from uniadapter.utils.json_files import parse_json

_HOW = "write it with tools/dataset_converters/prepare_real_pictures.py"


class Collection(NamedTuple):
    """Pictures, their captions and how they are split.

    Attributes:
        name (str): Of the collection.
        pixels (Tensor): (N, 3, H, W) uint8.
        captions (list[str]): One a picture.
        keys (list[str]): What descriptions are compared by: equal ones are one.
        splits (list[dict]): ``train``, ``val`` and ``test``: numbers of pictures.
        sha256 (str): Of captions, pictures and splits.
    """

    name: str
    pixels: torch.Tensor
    captions: list[str]
    keys: list[str]
    splits: list[dict[str, list[int]]]
    sha256: str


def load_collection(folder: str | Path) -> Collection:
    """Read a collection.

    Args:
        folder (str | Path): Such as ``data/real/stamps``.

    Returns:
        Collection: With every picture.

    Raises:
        FileNotFoundError: If the folder or a file of it is missing.
        ValueError: If a picture, a caption or a split is another one than when it was prepared, or
            a file is damaged.
    """
    root = Path(folder)
    manifest, entries = (_read_json(root / name) for name in ("manifest.json", "captions.json"))
    pixels = []
    for entry in entries:
        path = root / "images" / entry["image"]
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: {_HOW} again.")
        with Image.open(path) as image:
            array = np.asarray(image.convert("RGB"))
        if hashlib.sha256(array.tobytes()).hexdigest() != entry["sha256"]:
            raise ValueError(f"{path} is not the picture that was prepared: {_HOW} again.")
        pixels.append(torch.from_numpy(array.copy()).permute(2, 0, 1))
    number = {entry["image"]: index for index, entry in enumerate(entries)}
    splits = [
        {part: _numbers(root / "splits" / str(i) / f"{part}.jsonl", number) for part in sizes}
        for i, sizes in enumerate(manifest["splits"])
    ]
    # As prepare_real_pictures.py has written it.
    facts = (root / "captions.json").read_text(encoding="utf-8")
    facts += json.dumps([list(split.values()) for split in splits])
    if hashlib.sha256(facts.encode()).hexdigest() != manifest["sha256"]:
        raise ValueError(f"Captions or splits in {root} were changed by hand: {_HOW} again.")
    captions, keys = ([entry[key] for entry in entries] for key in ("caption", "key"))
    return Collection(root.name, torch.stack(pixels), captions, keys, splits, manifest["sha256"])


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {_HOW}.")
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): {_HOW} again.") from error


def _numbers(path: Path, number: dict[str, int]) -> list[int]:
    """Numbers of the pictures that a split names."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {_HOW} again.")
    names = [line["media"] for _, line in read_json_lines(str(path))]
    unknown = [name for name in names if name not in number]
    if unknown:
        raise ValueError(f"{path} names {unknown[:3]}, which captions.json has not: {_HOW} again.")
    return [number[name] for name in names]
