"""A trained model with examples of a split, for pictures of what it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import init_default_scope

from uniadapter.datasets import BaseMediaDataset, MediaError
from uniadapter.datasets.transforms import PackInputs
from uniadapter.models.tasks import VisionLanguageModel
from uniadapter.registry import DATASETS, scope_of
from uniadapter.structures import MultimodalSample
from uniadapter.utils.config import dataset_config, load_config

from .model import init_model


@dataclass
class Example:
    """An item of a dataset.

    Attributes:
        frames (ndarray): (N, H, W, 3) uint8, as decoded.
        seen (ndarray): (N, h, w, 3) uint8, as the pipeline leaves them for the model.
        inputs (Tensor): (N, 3, h, w) uint8, what the data preprocessor takes.
        sample (MultimodalSample): Everything else.
    """

    frames: np.ndarray
    seen: np.ndarray
    inputs: torch.Tensor
    sample: MultimodalSample

    @property
    def name(self) -> str:
        """Of the medium."""
        return str(self.sample.get("video_id"))


@dataclass
class Examples:
    """Some items and the model that is to look at them.

    Attributes:
        model (VisionLanguageModel): In evaluation mode.
        dataset (BaseMediaDataset): Where the items are from.
        items (list[Example]): Those that could be read.
        unreadable (list[str]): What is wrong with the others.
    """

    model: VisionLanguageModel
    dataset: BaseMediaDataset
    items: list[Example]
    unreadable: list[str] = field(default_factory=list)

    def batches(self, size: int = 16) -> Iterator[tuple[list[Example], dict[str, Any]]]:
        """Items and what the data loader would give of them, some at a time."""
        for start in range(0, len(self.items), size):
            part = self.items[start : start + size]
            samples = [item.sample for item in part]
            yield part, {"inputs": [item.inputs for item in part], "data_samples": samples}

    def pixels(self, items: Sequence[Example]) -> torch.Tensor:
        """What the towers see of items, (B, N, 3, h, w)."""
        samples = [item.sample for item in items]
        data = {"inputs": [item.inputs for item in items], "data_samples": samples}
        return self.model.data_preprocessor(data, False)["pixels"]

    def words(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask (T, L) of texts, on the model's device."""
        preprocessor: Any = self.model.data_preprocessor
        ids, mask = preprocessor.tokenizer(list(texts), preprocessor.max_text_len)
        device = next(self.model.parameters()).device
        return ids.to(device), mask.to(device)


def read_example(dataset: BaseMediaDataset, index: int) -> Example:
    """One item of a dataset.

    Raises:
        MediaError: If its medium can't be read.
        ValueError: If the pipeline loads no frames or packs nothing.
    """
    results: dict[str, Any] = dataset.get_data_info(index)
    first, packed = None, None
    for step in dataset.pipeline.transforms:
        if isinstance(step, PackInputs):
            packed = step(results)
            break
        results = step(results)
        first = results.get("frames") if first is None else first
    if first is None or packed is None:
        raise ValueError(
            f"{dataset.split_name}: the pipeline needs a LoadVideo at its start and PackInputs at "
            "its end."
        )
    return Example(first, results["frames"], packed["inputs"], packed["data_samples"])


def open_examples(
    config: str | Path,
    checkpoint: str | Path,
    number: int,
    split: str = "test",
    device: str = "cpu",
    cfg_options: dict[str, Any] | None = None,
) -> Examples:
    """Load a model and examples that are spread over a split.

    Args:
        config (str | Path): Config file.
        checkpoint (str | Path): See :func:`uniadapter.apis.load_weights`.
        number (int): Examples wanted; fewer where the split has fewer.
        split (str): ``'train'``, ``'val'`` or ``'test'``. Defaults to ``'test'``.
        device (str): Where the model runs. Defaults to ``'cpu'``.
        cfg_options (dict, optional): Overrides of the config.

    Returns:
        Examples: Media that can't be read are left out and named.

    Raises:
        FileNotFoundError: If config, checkpoint, annotations or folder of media do not exist.
        ValueError: If ``number`` is below 1, the config has no such split of media, or none of the
            chosen media can be read.
    """
    if number < 1:
        raise ValueError(f"--num {number}: at least one example is shown.")
    cfg = load_config(config, cfg_options)
    if not Path(checkpoint).exists():
        raise FileNotFoundError(f"Checkpoint {checkpoint} does not exist.")
    init_default_scope(scope_of(cfg))
    dataset = DATASETS.build(dataset_config(cfg, split, config))
    if not isinstance(dataset, BaseMediaDataset):
        raise ValueError(f"{type(dataset).__name__} of {config}: its items are no media.")
    model = init_model(cfg, checkpoint, device)
    count = min(number, len(dataset))
    items, unreadable = [], []
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        try:
            items.append(read_example(dataset, index))
        except MediaError as error:
            unreadable.append(str(error))
    if not items:
        raise ValueError(
            f"None of {count} media could be read: {unreadable[0]}. "
            f"tools/misc/verify_dataset.py {config} lists every unreadable file."
        )
    return Examples(model, dataset, items, unreadable)
