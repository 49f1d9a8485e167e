"""A new data set in one file: a table of pictures with captions, see docs/tutorials.md."""

from __future__ import annotations

import csv

from uniadapter.datasets import BaseRetrievalDataset
from uniadapter.registry import DATASETS


@DATASETS.register_module()
class CaptionTable(BaseRetrievalDataset):
    """Rows ``picture;caption`` below a line that says so; a picture may have several rows."""

    def load_captions(self):
        """Yield (medium, caption) of every caption."""
        with open(self.ann_file, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter=";"):
                yield row["picture"], row["caption"]
