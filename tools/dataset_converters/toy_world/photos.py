"""Photos with captions: the stills' things in new arrangements, words and light.

A photo shows one thing, two things that stand somehow to each other, or three in a row. It is drawn
like a still and taken by one of the cameras of :data:`CAMERAS`: that is the visual shift. Its five
captions are put in the words of the stills and of no still (photo, scene, shows, with, which), then
reworded as those of the videos are: that is the language shift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from .drawing import Thing, draw_thing, draw_wall, paint
from .language import PLACES, RELATIONS, WALLS, choose, shift_language
from .stills import place_pair, random_name
from .videos import night_camera

KINDS = ("single", "pair", "trio")
KIND_SHARES = (0.25, 0.5, 0.25)
SPLITS = ("train", "val", "test")
CAPTIONS = 5
ROW = ("on the left", "in the middle", "on the right")

TEMPLATES = {
    "single": (
        "a {size} {one} sits {place} on a {wall} wall",
        "the scene shows a {size} {one} {place}",
        "{place} of a photo there is a {size} {one}",
        "a photo of a {one} which is {size} and {place}",
        "a {wall} wall with a {size} {one} {place}",
    ),
    "pair": (
        "a photo of a {one} {relation} a {two} on a {wall} wall",
        "the scene shows a {one} with a {two}",
        "a {wall} wall with a {one} {relation} a {two}",
        "a {one} sits {relation} a {two} on a {wall} wall",
        "a {one} next to a {two} on a {wall} wall",
    ),
    "trio": (
        "a {one} on the left and a {two} in the middle and a {three} on the right",
        "a {wall} wall with a {one} and a {two} and a {three}",
        "the scene shows a {two} next to a {one} and a {three}",
        "a photo of a {two} with a {one} on the left and a {three} on the right",
        "a {three} and a {two} and a {one} on a {wall} wall",
    ),
}


@dataclass(frozen=True)
class Scene:
    """What a photo shows.

    Attributes:
        kind: One of :data:`KINDS`.
        wall: The wall behind.
        things: One to three things, of different names.
        facts: Size, place or relation, as the templates name them.
    """

    kind: str
    wall: str
    things: tuple[Thing, ...]
    facts: dict[str, str]

    @property
    def key(self) -> tuple[str, ...]:
        """What every caption tells: two photos of one key may fit the same caption."""
        place = (self.facts["place"],) if self.kind == "single" else ()
        return (*sorted(thing.name for thing in self.things), *place)

    def captions(self) -> list[str]:
        """Five captions, before they are reworded."""
        names = dict(zip(("one", "two", "three"), (t.name for t in self.things), strict=False))
        return [text.format(wall=self.wall, **names, **self.facts) for text in TEMPLATES[self.kind]]


@dataclass(frozen=True)
class Photo:
    """A photo of a split: its number from 0 on over all splits, its scene, its randomness."""

    split: str
    number: int
    scene: Scene
    rng: np.random.Generator


def dusk_camera(frames: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Take ``frames`` (N, H, W, 3 uint8) in warm, low light with a soft lens; 0 leaves them."""
    if strength <= 0:
        return frames
    x = np.stack([cv2.GaussianBlur(frame, (3, 3), 0.8 * strength) for frame in frames])
    x = x.astype(np.float32)
    x = x + 0.3 * strength * (x.mean(-1, keepdims=True) - x)
    x = x * np.array([0.85, 0.6, 0.45]) ** strength + np.array([44.0, 16.0, 4.0]) * strength
    x = x + rng.normal(0, 9 * strength, x.shape[:3])[..., None]
    return np.clip(x, 0, 255).astype(np.uint8)


CAMERAS: dict[str, Callable[[np.ndarray, np.random.Generator, float], np.ndarray]] = {
    "night": night_camera,
    "dusk": dusk_camera,
}


def write_scene(rng: np.random.Generator) -> Scene:
    """Decide what a photo shows."""
    kind, wall = str(rng.choice(KINDS, p=KIND_SHARES)), choose(rng, WALLS)
    names: list[tuple[str, str]] = []
    while len(names) < KINDS.index(kind) + 1:
        name = random_name(rng)
        if name not in names:
            names.append(name)
    if kind == "pair":
        relation = choose(rng, list(RELATIONS))
        return Scene(kind, wall, place_pair(rng, *names, relation), {"relation": relation})
    if kind == "trio":
        things = [
            _place(rng, name, place, (0.12, 0.15)) for name, place in zip(names, ROW, strict=True)
        ]
        return Scene(kind, wall, tuple(things), {})
    place, size = choose(rng, list(PLACES)), choose(rng, ("big", "small"))
    radii = (0.23, 0.27) if size == "big" else (0.13, 0.16)
    return Scene(kind, wall, (_place(rng, names[0], place, radii),), {"place": place, "size": size})


def _place(
    rng: np.random.Generator, name: tuple[str, str], place: str, radii: tuple[float, float]
) -> Thing:
    x, y = np.array(PLACES[place]) + rng.uniform(-0.03, 0.03, 2)
    radius, angle = rng.uniform(*radii), rng.uniform(-0.2, 0.2)
    return Thing(*name, float(x), float(y), float(radius), float(angle))


def write_photos(seed: int, world: int, sizes: tuple[int, int, int]) -> Iterator[Photo]:
    """Yield what the photos of all splits show.

    No two photos of val and test, taken together, are described alike, so that each caption has one
    right answer.

    Args:
        seed: Seed of all worlds.
        world: Number of this world of photos.
        sizes: Photos of train, val and test.

    Raises:
        ValueError: If there are not that many different scenes.
    """
    seen: set[tuple[str, ...]] = set()
    number = 0
    for split, size in zip(SPLITS, sizes, strict=True):
        for _ in range(size):
            for attempt in range(1000):
                rng = np.random.default_rng([seed, world, number, attempt])
                scene = write_scene(rng)
                if split == "train" or scene.key not in seen:
                    break
            else:
                raise ValueError(f"There are no {size} different scenes for the split {split!r}.")
            if split != "train":
                seen.add(scene.key)
            yield Photo(split, number, scene, rng)
            number += 1


def take_photo(
    photo: Photo, side: int, camera: str, strength: float, new_words: float
) -> tuple[np.ndarray, list[str]]:
    """Draw a photo.

    Args:
        photo: What it shows.
        side: Height and width in pixels.
        camera: One of :data:`CAMERAS`.
        strength: Of the camera; 0 is the stills' own look.
        new_words: Share of the old words that are replaced by their synonyms.

    Returns:
        The picture (side, side, 3) uint8 RGB and its captions.
    """
    image = draw_wall(photo.scene.wall, side, photo.rng)
    for thing in photo.scene.things:
        draw_thing(image, thing, paint(photo.rng, thing.color))
    image = CAMERAS[camera](image[None], photo.rng, strength)[0]
    texts = [shift_language(text, photo.rng, new_words) for text in photo.scene.captions()]
    return image, texts
