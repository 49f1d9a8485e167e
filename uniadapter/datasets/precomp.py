"""Flickr30K and COCO in the text files that VSE++, SCAN and VSE-infinity share (``precomp/``)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from ..registry import DATASETS
from ..utils.json_files import brief
from .base import BaseRetrievalDataset
from .media import IMAGE_EXTENSIONS
from .readers import MAX_DIGITS, read_json, require_file

#: Captions of an image where the list of images has one line an image.
CAPTIONS = 5
_CAPS, _IDS = "_caps.txt", "_ids.txt"


def read_lines(path: str) -> list[str]:
    """Lines of a text file, stripped; blank ones at its end are left out.

    Raises:
        ValueError: When the file is not UTF-8, or a line between others is blank.
    """
    with open(path, encoding="utf-8-sig", newline=None) as file:
        try:
            lines = [line.strip() for line in file]
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error}); save it as UTF-8.") from error
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise ValueError(
            f"{path}: line {lines.index('') + 1} is blank: lines of captions and images go "
            "together by number, so put back what stood there."
        )
    return lines


@DATASETS.register_module()
class PrecompRetrieval(BaseRetrievalDataset):
    """Image-text retrieval on a split of ``precomp/``.

    ``ann_file`` is ``{split}_caps.txt``, a caption a line; ``{split}_ids.txt`` beside it has the
    numbers of the images. Where there are as many lines in both, caption i is of image i; otherwise
    there are five captions an image, in order, and caption i is of image i // 5. The mapping says
    which file an image is. Splits are ``train``, ``dev``, ``test`` and COCO's ``testall``.

    Args:
        ids_file: The images. Defaults to None: ``ann_file`` with ``_ids`` for ``_caps``.
        mapping: JSON file ``{"number": "file name"}``, absolute or relative to ``data_root``.
            Defaults to ``'id_mapping.json'``.
        **kwargs: See :class:`BaseRetrievalDataset`.

    Raises:
        ValueError: When numbers of lines don't go together, an image stands on two lines, is no
            number or not in the mapping, and as the base class.
        FileNotFoundError: When a file or the folder of images does not exist.
    """

    METAINFO = {"task": "retrieval"}

    def __init__(
        self,
        ids_file: str | None = None,
        mapping: str = "id_mapping.json",
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        self.ids_file, self.mapping = ids_file, mapping
        super().__init__(extensions=extensions, **kwargs)

    def load_captions(self) -> Iterator[tuple[str, str]]:
        """Yield (image, caption) of every caption."""
        caps = require_file(self.ann_file, "ann_file")
        ids_path = require_file(self._ids_path(caps), "ids_file")
        captions, numbers = read_lines(caps), read_lines(ids_path)
        names = self._names(ids_path, numbers)
        if len(numbers) == len(captions):
            yield from zip(names, captions, strict=True)
            return
        if len(captions) != CAPTIONS * len(numbers):
            raise ValueError(
                f"{caps}: {len(captions)} captions for the {len(numbers)} images of {ids_path}; "
                f"there must be {CAPTIONS} an image, or a line of images for each caption. One of "
                "the files may be cut off."
            )
        first = {number: line for line, number in reversed(list(enumerate(numbers, 1)))}
        for line, number in enumerate(numbers, 1):
            if first[number] != line:
                raise ValueError(
                    f"{ids_path}: line {line}: {number} stands on {first[number]} too."
                )
        for index, caption in enumerate(captions):
            yield names[index // CAPTIONS], caption

    def _ids_path(self, caps: str) -> str:
        if self.ids_file is not None:
            return os.path.join(self.data_root or "", self.ids_file)
        if not caps.endswith(_CAPS):
            raise ValueError(
                f"ann_file = {caps!r} does not end in {_CAPS}, so that the file of its images is "
                "not known: name it as ids_file."
            )
        return caps.removesuffix(_CAPS) + _IDS

    def _names(self, ids_path: str, numbers: Sequence[str]) -> list[str]:
        """File names of the images."""
        path = require_file(os.path.join(self.data_root or "", self.mapping), "mapping")
        mapping = read_json(path)
        if not isinstance(mapping, dict):
            raise ValueError(f'{path}: an object {{"number": "file name"}} is expected.')
        owners: dict[str, int] = {}
        for line, number in enumerate(numbers, 1):
            if not number.isdecimal() or len(number) > MAX_DIGITS:
                raise ValueError(
                    f"{ids_path}: line {line}: {brief(number)} is no number of an image."
                )
            name = mapping.get(str(int(number)))
            if not isinstance(name, str) or not name:
                raise ValueError(
                    f"{path}: image {number} of {ids_path}, line {line}, has no file name."
                )
            if owners.setdefault(name, int(number)) != int(number):
                raise ValueError(
                    f"{path}: images {owners[name]} and {number} are both {name!r}; every image "
                    "needs a file of its own."
                )
        return [mapping[str(int(number))] for number in numbers]
