"""The Karpathy splits of COCO and Flickr30K, in their author's and in BLIP's format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .readers import MAX_DIGITS, read_json, require_file, require_id, require_text, require_texts

SPLITS = ("train", "val", "test")
_DIGITS = re.compile(r"\d+")


@dataclass
class CaptionedImage:
    """An image of a split and captions of it.

    Attributes:
        image: Its path relative to the folder of images.
        image_id: Its identifier: COCO's number where it is known, else a text.
        captions: One or several captions.
        where: File and position, for errors.
    """

    image: str
    image_id: int | str
    captions: list[str]
    where: str


def read_captioned_images(
    ann_file: str, split: str | None = None, key: str = "ann_file"
) -> list[CaptionedImage]:
    """Read a split in either format; the file shows which one it is.

    - Karpathy's ``dataset_coco.json`` or ``dataset_flickr30k.json``: all splits in one file,
      ``split`` says which. COCO's ``restval`` counts as training, as usual.
    - BLIP's ``coco_karpathy_train.json`` (an entry a caption), ``coco_karpathy_val.json`` (an entry
      an image with a list of captions) and their like for Flickr30K: one split a file.

    Args:
        ann_file: The file.
        split: ``'train'``, ``'val'`` or ``'test'``; None for BLIP's files.
        key: Configuration key that the path came from, for errors.

    Returns:
        Entries in the order of the file: one an image, or in BLIP's training files one a caption.

    Raises:
        ValueError: When a key is missing or empty, an identifier stands for two images or an image
            has two, the split is unknown, or ``split`` does not suit the format.
        FileNotFoundError: When there is no such file.
    """
    path = require_file(ann_file, key)
    content = read_json(path)
    if isinstance(content, list):
        if split is not None:
            raise ValueError(
                f"{path}: a file in BLIP's format is one split; leave out split={split!r}."
            )
        found = list(_read_blip(content, path))
    else:
        found = list(_read_karpathy(content, path, split))
    _refuse_ambiguous_ids(found)
    return found


def _read_blip(content: list[Any], path: str) -> Iterator[CaptionedImage]:
    listed: dict[str, str] = {}
    for index, entry in enumerate(content):
        where = f"{path}: entry {index}"
        image = require_text(entry, "image", where)
        captions = require_texts(entry, "caption", where)
        if isinstance(entry["caption"], list) and listed.setdefault(image, where) is not where:
            raise ValueError(
                f"{where}: image {image!r} stands at {listed[image]} too; a split with lists of "
                "captions has one entry an image."
            )
        image_id = require_id(entry, "image_id", where) if "image_id" in entry else image
        yield CaptionedImage(image, _number(image_id), captions, where)


def _read_karpathy(content: Any, path: str, split: str | None) -> Iterator[CaptionedImage]:
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise ValueError(
            f"{path}: a list of entries (BLIP's format) or an object with a list 'images' "
            "(Karpathy's dataset_*.json) is expected; docs/dataset_preparation.md shows both."
        )
    if split not in SPLITS:
        raise ValueError(f"{path} holds all splits: split must be one of {SPLITS}, got {split!r}.")
    for index, entry in enumerate(images):
        where = f"{path}: images[{index}]"
        own = require_text(entry, "split", where)
        if own not in (*SPLITS, "restval"):
            raise ValueError(f"{where}: 'split' is {own!r}, not one of {(*SPLITS, 'restval')}.")
        if {"restval": "train"}.get(own, own) != split:
            continue
        name = require_text(entry, "filename", where)
        folder = require_text(entry, "filepath", where) if "filepath" in entry else ""
        sentences = entry.get("sentences")
        if not isinstance(sentences, list) or not sentences:
            raise ValueError(f"{where}: 'sentences' must be a list of at least one caption.")
        captions = [
            require_text(sentence, "raw", f"{where}: sentences[{number}]")
            for number, sentence in enumerate(sentences)
        ]
        key = "cocoid" if "cocoid" in entry else "imgid"
        image_id = require_id(entry, key, where) if key in entry else name
        yield CaptionedImage(f"{folder}/{name}" if folder else name, image_id, captions, where)


def _number(image_id: int | str) -> int | str:
    """COCO's number in ``coco_391895`` or ``val2014/COCO_val2014_000000391895.jpg``."""
    if isinstance(image_id, str) and "coco_" in image_id.lower():
        digits = _DIGITS.findall(image_id.rsplit("/", 1)[-1])
        if digits and len(digits[-1]) <= MAX_DIGITS:
            return int(digits[-1])
    return image_id


def _refuse_ambiguous_ids(found: list[CaptionedImage]) -> None:
    images: dict[int | str, CaptionedImage] = {}
    ids: dict[str, CaptionedImage] = {}
    for entry in found:
        first = images.setdefault(entry.image_id, entry)
        if first.image != entry.image:
            raise ValueError(
                f"{entry.where}: image_id {entry.image_id!r} of {entry.image!r} is also that of "
                f"{first.image!r} at {first.where}; every image needs an identifier of its own."
            )
        first = ids.setdefault(entry.image, entry)
        if first.image_id != entry.image_id:
            raise ValueError(
                f"{entry.where}: image {entry.image!r} has image_id {entry.image_id!r}, but "
                f"{first.image_id!r} at {first.where}."
            )
