"""Splits in which no description and no picture stands on both sides."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple


class Split(NamedTuple):
    """Numbers of pictures.

    Attributes:
        train, val, test (list[int]): Each sorted.
    """

    train: list[int]
    val: list[int]
    test: list[int]


def key_of(caption: str) -> str:
    """By which descriptions are the same: their words in small letters."""
    return " ".join(re.findall(r"\w+", caption.casefold()))


def groups_of(captions: Sequence[str], digests: Sequence[str]) -> list[list[int]]:
    """Pictures that must stay together: of one description, or the same picture twice.

    Args:
        captions (Sequence[str]): One a picture.
        digests (Sequence[str]): Of each picture's pixels.

    Returns:
        list[list[int]]: Numbers of the pictures, the groups in the order of their first one.
    """
    leader = list(range(len(captions)))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, (caption, digest) in enumerate(zip(captions, digests, strict=True)):
        for mark in (("caption", key_of(caption)), ("picture", digest)):
            one, other = find(first.setdefault(mark, index)), find(index)
            leader[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = defaultdict(list)
    for index in range(len(captions)):
        groups[find(index)].append(index)
    return list(groups.values())


def make_splits(
    captions: Sequence[str],
    digests: Sequence[str],
    splits: int = 5,
    test: int = 100,
    val: int = 80,
    seed: int = 0,
) -> list[Split]:
    """Draw splits whose test sets are disjoint, and one validation set for all of them.

    The validation set is part of no split's training or test set, so that what is chosen on it has
    seen no test picture of any split. Groups come in the order of a hash, which is the same on
    every machine, and fill the validation set and then each test set as far as they fit.

    Args:
        captions (Sequence[str]): One a picture.
        digests (Sequence[str]): Of each picture's pixels.
        splits (int): Defaults to 5.
        test (int): Pictures of a test set. Defaults to 100.
        val (int): Pictures of the validation set. Defaults to 80.
        seed (int): Another seed, other splits. Defaults to 0.

    Returns:
        list[Split]: What is in neither is trained on.

    Raises:
        ValueError: If a number is below 1, or nothing would be left to train on.
    """
    if min(splits, test, val) < 1:
        raise ValueError(f"{splits=}, {test=} and {val=} must be at least 1.")
    if splits * test + val >= len(captions):
        raise ValueError(
            f"{splits} test sets of {test} pictures and {val} for validation leave none of "
            f"{len(captions)} to train on: lower --splits, --test or --val."
        )
    groups = sorted(
        groups_of(captions, digests), key=lambda group: _order(captions[group[0]], seed)
    )
    chosen = [_take(groups, size) for size in (val, *[test] * splits)]
    valid = set(chosen[0])
    everything = range(len(captions))
    return [
        Split([i for i in everything if i not in valid and i not in set(part)], chosen[0], part)
        for part in chosen[1:]
    ]


def _order(caption: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{key_of(caption)}".encode()).hexdigest()


def _take(groups: list[list[int]], size: int) -> list[int]:
    """Take groups off a list until so many pictures are reached, passing over too large ones.

    Raises:
        ValueError: If the groups that are left don't add up to that.
    """
    taken: list[int] = []
    for group in list(groups):
        if len(taken) + len(group) <= size:
            taken += group
            groups.remove(group)
    if len(taken) < size:
        raise ValueError(f"No groups of pictures are left that add up to {size}: lower --test.")
    return sorted(taken)
