"""MSR-VTT from its published files, with the splits of the 1k-A protocol."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import print_log

from ..registry import DATASETS
from ..utils.json_files import brief
from .base import BaseRetrievalDataset
from .readers import read_csv, read_json, require_file, require_text


@DATASETS.register_module()
class MSRVTTRetrieval(BaseRetrievalDataset):
    """MSR-VTT text-video retrieval (1k-A: 9,000 training and 1,000 test videos).

    A split is a CSV file that lists videos in its column ``video_id``:

    - with a column ``sentence`` (``MSRVTT_JSFUSION_test.csv``) it brings its own captions, and
      ``ann_file`` is not needed;
    - without one (``MSRVTT_train.9k.csv``) the captions are those of ``ann_file``
      (``MSRVTT_data.json``): all 20 of a video, one training item each.

    Rows that repeat another one exactly are dropped with a warning. Rows with one video and several
    sentences are several captions of it. Sentences that ``MSRVTT_data.json`` repeats are kept, as
    the published counts include them.

    Args:
        split_file: CSV file of the split, absolute or relative to ``data_root``.
        ann_file: ``MSRVTT_data.json``, for a split without sentences of its own.
        **kwargs: See :class:`BaseRetrievalDataset`.

    Raises:
        ValueError: For a missing column or key, an empty or unknown value, or a split without rows.
        FileNotFoundError: For a missing annotation file or folder of videos.
    """

    METAINFO = {"dataset": "MSR-VTT", "task": "retrieval"}

    def __init__(self, split_file: str, ann_file: str = "", **kwargs: Any) -> None:
        self.split_file = split_file
        super().__init__(ann_file=ann_file, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.split_file = self._joined(self.split_file)

    @property
    def split_name(self) -> str:
        """The CSV file that lists the videos."""
        return self.split_file

    def load_captions(self) -> Iterator[tuple[str, str]]:
        """Yield (video id, caption) of the split."""
        path = require_file(self.split_file, "split_file")
        rows = self._distinct_rows(path)
        if any("sentence" in row for row, _ in rows):
            for row, where in rows:
                yield row["video_id"].strip(), require_text(row, "sentence", where)
            return
        if rows and not self.ann_file:
            raise ValueError(
                f"{path} has no column 'sentence', and ann_file is empty: name the file of the "
                "captions (MSRVTT_data.json), or a split with sentences of its own."
            )
        captions = self._published_captions() if rows else {}
        for row, where in rows:
            name = row["video_id"].strip()
            if name not in captions:
                raise ValueError(
                    f"{where}: video_id {brief(name)} has no sentence in {self.ann_file}; the two "
                    "files belong to different releases, or one is incomplete."
                )
            for caption in captions[name]:
                yield name, caption

    def _distinct_rows(self, path: str) -> list[tuple[Mapping[str, str], str]]:
        seen: set[tuple[str, str]] = set()
        rows: list[tuple[Mapping[str, str], str]] = []
        repeated: list[str] = []
        for line, row in read_csv(path, ["video_id"]):
            where = f"{path}: line {line}"
            identity = (require_text(row, "video_id", where), row.get("sentence", "").strip())
            if identity in seen:
                repeated.append(f"line {line} ({identity[0]})")
                continue
            seen.add(identity)
            rows.append((row, where))
        if repeated:
            print_log(
                f"{path}: {len(repeated)} repeated rows are used once, the first: {repeated[0]}",
                "current",
                logging.WARNING,
            )
        return rows

    def _published_captions(self) -> dict[str, list[str]]:
        path = require_file(self.ann_file, "ann_file")
        content = read_json(path)
        sentences = content.get("sentences") if isinstance(content, dict) else None
        if not isinstance(sentences, list):
            raise ValueError(
                f"{path}: a list under the key 'sentences' is expected, as in the published "
                "MSRVTT_data.json; docs/dataset_preparation.md says where it comes from."
            )
        captions: dict[str, list[str]] = {}
        for index, entry in enumerate(sentences):
            where = f"{path}: sentences[{index}]"
            name = require_text(entry, "video_id", where)
            captions.setdefault(name, []).append(require_text(entry, "caption", where))
        return captions
