"""What frozen layers make of every picture and text, computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from uniadapter.checkpoints import write
from uniadapter.models.execution import Words
from uniadapter.models.taps import Recorder, Taps
from uniadapter.utils.safe_io import load_torch_file

from .pictures import Collection

_BATCH = 32


class Frozen(NamedTuple):
    """States of frozen towers; pictures first as they are, then mirrored.

    Attributes:
        images (Tensor): Features (2, N, D) that stand for pictures.
        texts (Tensor): Features (N, E) that stand for texts.
        lower (Tensor): (2, N, C, H, W) float16 behind the first ``layers`` layers.
        layers (int): How many.
    """

    images: torch.Tensor
    texts: torch.Tensor
    lower: torch.Tensor
    layers: int


def normalised(pixels: torch.Tensor, mirrored: bool = False) -> torch.Tensor:
    """Pictures (B, 3, H, W) of bytes as EfficientNet-Lite reads them."""
    x = (pixels.float() - 127) / 128
    return x.flip(-1) if mirrored else x


@torch.no_grad()
def run_frozen(model: Any, pictures: Collection, layers: int) -> Frozen:
    """Run both frozen towers over a collection.

    Args:
        model (RetrievalModel): Without an adapter, in evaluation mode.
        pictures (Collection): The pictures.
        layers (int): Lower layers whose output is kept.
    """
    sides: list[tuple[torch.Tensor, torch.Tensor]] = []
    for mirrored in (False, True):
        features, lower = [], []
        for start in range(0, len(pictures.pixels), _BATCH):
            x = normalised(pictures.pixels[start : start + _BATCH], mirrored)
            x = model.visual.lower(x, layers)
            lower.append(x.half())
            features.append(model.visual.finish(x, "first", layers)[:, 0])
        sides.append((torch.cat(features), torch.cat(lower)))
    texts = []
    for start in range(0, len(pictures.captions), _BATCH):
        words = words_of(model, pictures.captions[start : start + _BATCH])
        texts.append(model.text.states(words, "first")[:, 0])
    images, lowers = (torch.stack(parts) for parts in zip(*sides, strict=True))
    return Frozen(images, torch.cat(texts), lowers, layers)


def words_of(model: Any, captions: list[str]) -> Words:
    """Captions as the model's preprocessor tokenizes them."""
    preprocessor = model.data_preprocessor
    return Words(*preprocessor.tokenizer(captions, preprocessor.max_text_len))


@torch.no_grad()
def tap_maps(model: Any, frozen: Frozen, wanted: set[int]) -> list[list[torch.Tensor | None]]:
    """The maps of chosen layers, for a side network that reads them.

    Args:
        model (VseModel): Whose visual tower is frozen.
        frozen (Frozen): With the output of the lower layers.
        wanted (set[int]): Layers counted from 1, all above the lower ones.

    Returns:
        list: For pictures as they are and mirrored, a tensor (N, C, H, W) float16 a layer from 0,
        the input; None where it is not wanted.
    """
    tower, found = model.visual, []
    upper = list(tower.layers)[frozen.layers :]
    for lower in frozen.lower:
        rows: list[list[torch.Tensor]] = [[] for _ in range(tower.num_layers + 1)]
        for start in range(0, len(lower), _BATCH):
            x = lower[start : start + _BATCH].float()
            hidden = Recorder(upper)(lambda x=x: tower.finish(x, "all", frozen.layers)).hidden
            for number, state in enumerate(hidden, frozen.layers):
                if number in wanted:
                    rows[number].append(state.half())
        found.append([torch.cat(parts) if parts else None for parts in rows])
    return found


def taps_of(maps: list[torch.Tensor | None], rows: torch.Tensor, features: torch.Tensor) -> Taps:
    """Taps of some pictures, of the layers that are kept.

    Args:
        maps (list): Of :func:`tap_maps`, as they are or mirrored.
        rows (Tensor): Numbers of the pictures (B,).
        features (Tensor): What stands for them, (B, D): the tower's output.
    """
    kept = [None if states is None else states[rows].float() for states in maps]
    return Taps(tuple(kept), features[:, None])  # type: ignore[arg-type]


def load_or_run(model: Any, pictures: Collection, layers: int, path: Path, key: str) -> Frozen:
    """:func:`run_frozen`, or what an earlier run kept of it.

    Args:
        model (RetrievalModel): See there.
        pictures (Collection): See there.
        layers (int): See there.
        path (Path): Where it is kept.
        key (str): What it depends on; a file of another key is written anew.
    """
    if path.is_file():
        content = load_torch_file(path)
        if isinstance(content, dict) and content.get("key") == key:
            return Frozen(content["images"], content["texts"], content["lower"], layers)
    frozen = run_frozen(model, pictures, layers)
    write(path, {"key": key, **frozen._asdict()}, under="")
    return frozen
