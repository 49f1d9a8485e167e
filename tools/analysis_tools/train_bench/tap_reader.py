"""A batch whose states are read from disk in every step."""

from __future__ import annotations

from typing import Any

from uniadapter.datasets.tap_store import TapStore
from uniadapter.engine.hooks.tap_store import layers_of
from uniadapter.structures import KeptFrames
from uniadapter.structures.kept_taps import collate

#: Type of taps on disk.
DTYPE = "float16"


class TapReader:
    """Reads a batch whose media and texts are kept by their place in it, as a data loader does.

    Args:
        folder (str): Where it is.
        model (RetrievalModel): Whose adapter reads it.
    """

    def __init__(self, folder: str, model: Any) -> None:
        self.store = TapStore(folder, {"dtype": DTYPE}, layers_of(model))

    def read(self, batch: dict[str, Any]) -> KeptFrames:
        """States in the place of the pixels of a batch."""
        rows = range(len(batch["input_ids"]))
        items = [self.store.item({"media_id": row, "sample_idx": row})["inputs"] for row in rows]
        ids, mask = batch["input_ids"], batch["attention_mask"]
        return collate(items, None, ids, mask, [str(row) for row in rows], ids.device)
