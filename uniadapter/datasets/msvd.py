"""MSVD from its three lists of videos and the captions of its pickle, written as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..registry import DATASETS
from ..utils.json_files import brief
from .base import BaseRetrievalDataset
from .readers import read_json, require_file, require_texts

_CONVERTER = "tools/dataset_converters/msvd_captions.py"


@DATASETS.register_module()
class MSVDRetrieval(BaseRetrievalDataset):
    """MSVD text-video retrieval (1,200 / 100 / 670 videos, about 40 captions each).

    A split is a list of videos, one name a line (``train_list.txt``, ``val_list.txt``,
    ``test_list.txt``). The captions of all videos are in one JSON file, which
    ``tools/dataset_converters/msvd_captions.py`` writes of ``raw-captions.pkl``: an object of lists
    of captions by name. Every caption is a training item; in testing a video has all of its own.

    Args:
        split_file: List of the split, absolute or relative to ``data_root``.
        ann_file: The JSON file of captions.
        **kwargs: See :class:`BaseRetrievalDataset`.

    Raises:
        ValueError: For a video without captions, a name that stands twice, or an empty list.
        FileNotFoundError: For a missing file or folder of videos.
    """

    METAINFO = {"dataset": "MSVD", "task": "retrieval"}

    def __init__(self, split_file: str, ann_file: str, **kwargs: Any) -> None:
        self.split_file = split_file
        super().__init__(ann_file=ann_file, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.split_file = self._joined(self.split_file)

    @property
    def split_name(self) -> str:
        """The file that lists the videos."""
        return self.split_file

    def load_captions(self) -> Iterator[tuple[str, str]]:
        """Yield (video name, caption) of the split."""
        path = require_file(self.ann_file, "ann_file")
        if path.endswith((".pkl", ".pickle")):
            raise ValueError(
                f"ann_file = {path!r} is a pickle, which nothing here loads: write it as JSON once "
                f"with {_CONVERTER}."
            )
        captions = read_json(path)
        if not isinstance(captions, dict):
            raise ValueError(f"{path}: an object of captions by video, written by {_CONVERTER}.")
        for line, name in _names(require_file(self.split_file, "split_file")):
            if name not in captions:
                raise ValueError(
                    f"{self.split_file}: line {line}: {brief(name)} has no captions in {path}; the "
                    "two files belong to different releases, or one is incomplete."
                )
            for caption in require_texts(captions, name, path):
                yield name, caption


def _names(path: str) -> Iterator[tuple[int, str]]:
    """(line, name) of a list; blank lines are passed over."""
    seen: dict[str, int] = {}
    with open(path, encoding="utf-8-sig") as file:
        try:
            lines = [line.strip() for line in file]
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error}); save it as UTF-8.") from error
    for number, name in enumerate(lines, start=1):
        if not name:
            continue
        if name in seen:
            raise ValueError(
                f"{path}: {brief(name)} stands in line {seen[name]} and in line {number}."
            )
        seen[name] = number
        yield number, name
