"""Videos of two moments in a row, each with its sentence: what DiDeMo's twin is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .language import OPPOSITES, WALLS, choose, shift_language
from .photos import SPLITS
from .stills import random_name
from .videos import Shot, night_camera, pair_shot, render

MOMENTS = 2
#: DiDeMo cuts a video into six segments of five seconds; a moment fills half of them.
SEGMENTS = 6
ORDINALS = ("first", "later")
TEMPLATES = (
    "a {one} {relation} a {two} appears",
    "for a moment there is a {one} {relation} a {two}",
    "a {one} shows up {relation} a {two}",
    "a {one} flashes next to a {two}",
    "a {one} {relation} a {two} on a {wall} wall",
)


@dataclass(frozen=True)
class Moments:
    """A video of a split: its number over all splits, what it shows and its randomness."""

    split: str
    number: int
    wall: str
    shots: tuple[Shot, ...]
    relations: tuple[str, ...]
    rng: np.random.Generator

    @property
    def name(self) -> str:
        """Name in the annotations, as long as DiDeMo's and with an extension that is not kept."""
        return f"70000000@N00_{4000000000 + self.number}_{self.number:010x}.mov"

    @property
    def key(self) -> tuple[str, ...]:
        """The things of all moments, in no order."""
        return tuple(sorted(thing.name for shot in self.shots for thing in shot.things))


def _write(rng: np.random.Generator) -> tuple[str, list[Shot], list[str]]:
    wall = choose(rng, WALLS)
    names: list[tuple[str, str]] = []
    while len(names) < 2 * MOMENTS:
        name = random_name(rng)
        if name not in names:
            names.append(name)
    shots, relations = [], []
    for index in range(MOMENTS):
        span = (index / MOMENTS, (index + 1) / MOMENTS)
        shot, relation = pair_shot(rng, names[2 * index], names[2 * index + 1], span)
        shots.append(shot)
        relations.append(relation)
    return wall, shots, relations


def write_moments(seed: int, world: int, sizes: tuple[int, int, int]) -> Iterator[Moments]:
    """Yield what the videos of all splits show; no two of val and test show the same things.

    Args:
        seed: Seed of all worlds.
        world: Number of this world.
        sizes: Videos of train, val and test.
    """
    seen: set[tuple[str, ...]] = set()
    number = 0
    for split, size in zip(SPLITS, sizes, strict=True):
        for _ in range(size):
            for attempt in range(1000):
                rng = np.random.default_rng([seed, world, number, attempt])
                wall, shots, relations = _write(rng)
                video = Moments(split, number, wall, tuple(shots), tuple(relations), rng)
                if split == "train" or video.key not in seen:
                    break
            if split != "train":
                seen.add(video.key)
            yield video
            number += 1


def film(
    video: Moments, side: int, strength: float, new_words: float
) -> tuple[np.ndarray, list[str]]:
    """Draw a video.

    Args:
        video: What it shows.
        side: Height and width in pixels.
        strength: Of :func:`night_camera`.
        new_words: Share of the old words that are replaced by their synonyms.

    Returns:
        Frames (T, side, side, 3) uint8 RGB, and a sentence for each moment in the order of time.
    """
    rng = video.rng
    frames = night_camera(render(video.shots, video.wall, side, rng), rng, strength)
    sentences = []
    for index, (shot, relation) in enumerate(zip(video.shots, video.relations, strict=True)):
        one, two, how = shot.things[0].name, shot.things[1].name, relation
        if rng.random() < 0.5:
            one, two, how = two, one, OPPOSITES[relation]
        text = choose(rng, TEMPLATES).format(one=one, two=two, relation=how, wall=video.wall)
        if rng.random() < 0.5:
            text = f"{ORDINALS[index]} {text}"
        sentences.append(shift_language(text, rng, new_words))
    return frames, sentences
