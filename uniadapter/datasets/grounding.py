"""RefCOCO, RefCOCO+ and RefCOCOg from MDETR's annotation files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..registry import DATASETS
from ..utils.json_files import brief
from .base import BaseMediaDataset
from .media import IMAGE_EXTENSIONS
from .readers import read_json, require_file, require_id, require_text

Files = str | Sequence[str]
# No picture has as many pixels a side; larger whole numbers don't fit into a float.
_FAR = 2**31


@DATASETS.register_module()
class ReferringExpressions(BaseMediaDataset):
    """Expressions that each mean one thing in a picture, and its box.

    Files of MDETR (``finetune_refcoco_train.json``), in COCO's format with an entry of ``images``
    for every expression (its ``caption``) and one annotation for each of those (``bbox``, left,
    top, width and height in pixels, and ``tokens_positive``, the characters of the caption that
    name the thing; an expression may name it by none). Pictures are those of COCO's ``train2014``.

    An item has ``text``, ``tokens_positive``, ``box`` (left, top, right, bottom, cut at the
    picture), ``gt_box`` (the same, not cut), ``image_id``, ``split``, ``source`` (``dataset_name``)
    and, where the file says it, ``said_shape`` (height, width).

    Args:
        ann_file: File or files, absolute or relative to ``data_root``. An expression's ``split`` is
            what stands behind the last ``_`` of its file's name, such as ``testA``.
        **kwargs: See :class:`BaseMediaDataset`.

    Raises:
        ValueError: When a file is incomplete, an expression has not one box, or a box or a span is
            none; the message names file, position and key.
        FileNotFoundError: When a file or folder does not exist.
    """

    METAINFO = {"dataset": "RefCOCO", "task": "grounding"}

    def __init__(
        self,
        ann_file: Files,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        self.files = [ann_file] if isinstance(ann_file, str) else list(ann_file)
        if not self.files or not all(self.files):
            raise ValueError("ReferringExpressions: ann_file is empty: name at least one file.")
        if len({_split_of(file) for file in self.files}) < len(self.files):
            raise ValueError(
                f"ReferringExpressions: {self.files} are not told apart by what stands behind the "
                "last '_' of their names, their split: rename one."
            )
        super().__init__(ann_file="", extensions=extensions, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.files = [self._joined(file) for file in self.files]

    @property
    def split_name(self) -> str:
        """The annotation files."""
        return " + ".join(self.files)

    def load_data_list(self) -> list[dict]:
        """Return the items, one an expression."""
        found: list[tuple[str, dict[str, Any]]] = []
        for file in self.files:
            path = require_file(file, "ann_file")
            found += _expressions(read_json(path), path)
        self._require_items(found, "expression")
        media = self._find_media(name for name, _ in found)
        return [{**media[name], **item} for name, item in found]


def _split_of(file: str) -> str:
    return os.path.splitext(os.path.basename(file))[0].rpartition("_")[2]


def _list(content: Any, key: str, path: str) -> list[Any]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(
            f"{path}: a list under the key {key!r} is expected, as in MDETR's "
            "finetune_refcoco_train.json; docs/unipt_mdetr.md says where the files come from."
        )
    return entries


def _expressions(content: Any, path: str) -> list[tuple[str, dict[str, Any]]]:
    """Name of the picture and item of every expression of a file, in its order."""
    boxes: dict[int | str, tuple[Any, str]] = {}
    for index, entry in enumerate(_list(content, "annotations", path)):
        where = f"{path}: annotations[{index}]"
        number = require_id(entry, "image_id", where)
        if number in boxes:
            raise ValueError(
                f"{where}: image_id {number!r} has a box at {boxes[number][1]} too; an expression "
                "means one thing here."
            )
        boxes[number] = entry, where
    found, seen = [], set()
    for index, image in enumerate(_list(content, "images", path)):
        where = f"{path}: images[{index}]"
        number = require_id(image, "id", where)
        if number in seen:
            raise ValueError(f"{where}: id {number!r} stands in the file twice.")
        seen.add(number)
        if number not in boxes:
            raise ValueError(f"{where}: id {number!r} has no annotation, so no box.")
        name = require_text(image, "file_name", where)
        found.append((name, _item(image, where, *boxes.pop(number), split=_split_of(path))))
    if boxes:
        number, (_, where) = next(iter(boxes.items()))
        raise ValueError(f"{where}: image_id {number!r} is no id of 'images'.")
    return found


def _item(image: Any, where: str, entry: Any, entry_where: str, split: str) -> dict[str, Any]:
    require_text(image, "caption", where)
    # Not stripped: spans count its characters.
    text = image["caption"]
    size = [image.get("height"), image.get("width")]
    known = all(isinstance(side, int) and 0 < side < _FAR for side in size)
    corners = _corners(entry, entry_where)
    box = list(corners)
    if known:
        limits = (size[1], size[0], size[1], size[0])
        box = [min(max(side, 0.0), float(limit)) for side, limit in zip(box, limits, strict=True)]
        if box[2] <= box[0] or box[3] <= box[1]:
            raise ValueError(
                f"{entry_where}: bbox {entry['bbox']} lies outside of the picture, {size[1]} x "
                f"{size[0]} pixels."
            )
    return {
        "text": text,
        "tokens_positive": _spans(entry, entry_where, text),
        "box": box,
        "gt_box": corners,
        "image_id": image["id"],
        "split": split,
        "source": str(image.get("dataset_name", "")),
        **({"said_shape": size} if known else {}),
    }


def _corners(entry: Any, where: str) -> list[float]:
    value = entry.get("bbox")
    good = isinstance(value, list) and len(value) == 4
    good = good and all(
        isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < _FAR for x in value
    )
    if not good or value[2] <= 0 or value[3] <= 0:
        raise ValueError(
            f"{where}: 'bbox' must be [left, top, width, height] in pixels, the last two above 0; "
            f"got {brief(value)}."
        )
    left, top, width, height = map(float, value)
    return [left, top, left + width, top + height]


def _spans(entry: Any, where: str, text: str) -> list[list[int]]:
    value = entry.get("tokens_positive")
    if not isinstance(value, list):
        raise ValueError(
            f"{where}: 'tokens_positive' must be a list of [begin, end), characters of the "
            f"caption; got {brief(value)}."
        )
    for span in value:
        good = isinstance(span, list) and len(span) == 2
        good = good and all(isinstance(x, int) and not isinstance(x, bool) for x in span)
        if not good or not 0 <= span[0] < span[1] <= len(text):
            raise ValueError(
                f"{where}: tokens_positive {brief(span)} is no [begin, end) of the {len(text)} "
                f"characters of {brief(text)}."
            )
    return [list(span) for span in value]
