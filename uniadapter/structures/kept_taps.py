"""What frozen towers left behind, read from disk in place of running them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class KeptStates(NamedTuple):
    """States of rows (frames, or texts) of a run of a tower.

    Attributes:
        hidden (Tensor): (R, n, L, D), of the n layers that are kept, in their order.
        out (Tensor): (R, m, D), what the tower gave, the token that stands for a row in front.
    """

    hidden: Tensor
    out: Tensor


@dataclass(frozen=True)
class KeptItem:
    """What a dataset hands over of one caption and its medium.

    Attributes:
        frames (KeptStates): Of the medium's frames, one row each.
        words (KeptStates): Of the caption, one row.
        input_ids (Tensor): (L,), the ids that the caption was run with.
        layers (tuple): Which layers are kept, of the visual and of the text tower, 0 being the
            embedding.
    """

    frames: KeptStates
    words: KeptStates
    input_ids: Tensor
    layers: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class KeptFrames:
    """Stands for the pixels of B media of N frames.

    Attributes:
        frames (KeptStates): (B * N) rows.
        size (tuple[int, int]): B and N.
        words (KeptStates): Of the B texts.
        layers (tuple): As of :class:`KeptItem`.
    """

    frames: KeptStates
    size: tuple[int, int]
    words: KeptStates
    layers: tuple[tuple[int, ...], tuple[int, ...]]

    def __len__(self) -> int:
        return self.size[0]


def collate(
    items: Sequence[KeptItem],
    pad_frames: int | None,
    ids: Tensor,
    mask: Tensor,
    where: Sequence[str],
    device: torch.device,
) -> KeptFrames:
    """Put items together, padded to one length with zeros.

    Args:
        items (Sequence[KeptItem]): B items, at least one.
        pad_frames (int, optional): Frames of every medium; None: all have the same number.
        ids (Tensor): (B, L), the batch's texts.
        mask (Tensor): (B, L).
        where (Sequence[str]): Names of the media, for errors.
        device (torch.device): Where to.

    Returns:
        KeptFrames: On the device.

    Raises:
        ValueError: If a text has other ids than those it was kept with, or media differ in frames.
    """
    lengths = mask.sum(1).tolist()
    for item, row, length, name in zip(items, ids, lengths, where, strict=True):
        if not torch.equal(item.input_ids, row[:length].to(item.input_ids)):
            raise ValueError(
                f"{name}: the taps of its text were kept with other ids ({len(item.input_ids)} of "
                f"them, now {length}): with another vocabulary or max_text_len. Remove the folder "
                "of the taps, or name another one."
            )
    counts = [len(item.frames.out) for item in items]
    wanted = max(counts, default=0) if pad_frames is None else pad_frames
    if any(count > wanted or (pad_frames is None and count != wanted) for count in counts):
        raise ValueError(
            f"Media of {sorted(set(counts))} frames in one batch: set data_preprocessor.pad_frames "
            "to the most."
        )
    frames = [_padded(item.frames, wanted, 0) for item in items]
    words = [_padded(item.words, ids.shape[1], 2) for item in items]
    return KeptFrames(
        KeptStates(*(torch.cat(parts).to(device) for parts in zip(*frames, strict=True))),
        (len(items), wanted),
        KeptStates(*(torch.cat(parts).to(device) for parts in zip(*words, strict=True))),
        items[0].layers,
    )


def _padded(states: KeptStates, length: int, axis: int) -> KeptStates:
    """States with zeros behind them, rows (axis 0) or tokens (axis 2), ``length`` in all."""
    missing = length - states.hidden.shape[axis]
    if not missing:
        return states
    hidden = F.pad(states.hidden, (0, 0) * (states.hidden.dim() - 1 - axis) + (0, missing))
    if axis == 0:
        return KeptStates(hidden, F.pad(states.out, (0, 0, 0, 0, 0, missing)))
    # One token, that in front, or all of them behind it.
    whole = states.out.shape[1] > 1
    return KeptStates(hidden, F.pad(states.out, (0, 0, 0, missing)) if whole else states.out)
