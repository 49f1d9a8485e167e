"""Still images with captions: what the small backbone is pre-trained on."""

from __future__ import annotations

import numpy as np

from .drawing import Thing, draw_thing, draw_wall, paint
from .language import (
    COLORS,
    OPPOSITES,
    PLACES,
    RELATIONS,
    SHAPES,
    WALLS,
    choose,
    write_articles,
)

SINGLE = (
    "a {size} {name} {place} of a {wall} wall",
    "a {size} {name} {place} on a {wall} wall",
    "there is a {size} {name} {place}",
    "a picture of a {size} {name} on a {wall} wall",
    "the {name} sits {place} of a {wall} wall",
)
DOUBLE = (
    "a {one} {relation} a {two} on a {wall} wall",
    "a picture of a {one} {relation} a {two}",
    "there is a {one} {relation} a {two} on a {wall} wall",
    "a {one} and a {two} on a {wall} wall",
    "the {one} is {relation} the {two}",
)


def random_name(rng: np.random.Generator) -> tuple[str, str]:
    """A random (colour, shape)."""
    return choose(rng, list(COLORS)), choose(rng, SHAPES)


def place_pair(
    rng: np.random.Generator, one: tuple[str, str], two: tuple[str, str], relation: str
) -> tuple[Thing, Thing]:
    """Two things of which the first stands in ``relation`` to the second, near the centre."""
    step = np.array(RELATIONS[relation]) * rng.uniform(0.22, 0.27)
    across = np.array(RELATIONS[relation])[::-1] * rng.uniform(-0.1, 0.1)
    middle = 0.5 + rng.uniform(-0.04, 0.04, 2)
    first, second = middle + step + across, middle - step - across
    radii = rng.uniform(0.17, 0.22, 2)
    angles = rng.uniform(-0.2, 0.2, 2)
    return (
        Thing(*one, *first.tolist(), radius=float(radii[0]), angle=float(angles[0])),
        Thing(*two, *second.tolist(), radius=float(radii[1]), angle=float(angles[1])),
    )


def draw_still(rng: np.random.Generator, side: int) -> tuple[np.ndarray, list[str]]:
    """One still.

    Args:
        rng: the only source of randomness.
        side: height and width in pixels.

    Returns:
        The picture (side, side, 3) uint8 RGB and two captions of it.
    """
    wall = choose(rng, WALLS)
    image = draw_wall(wall, side, rng)
    if rng.random() < 0.4:
        things, captions = _single(rng, wall)
    else:
        things, captions = _double(rng, wall)
    for thing in things:
        draw_thing(image, thing, paint(rng, thing.color))
    return image, [write_articles(caption) for caption in captions]


def _single(rng: np.random.Generator, wall: str) -> tuple[list[Thing], list[str]]:
    color, shape = random_name(rng)
    place = choose(rng, list(PLACES))
    size = choose(rng, ("big", "small"))
    radius = rng.uniform(0.23, 0.27) if size == "big" else rng.uniform(0.13, 0.16)
    x, y = np.array(PLACES[place]) + rng.uniform(-0.04, 0.04, 2)
    thing = Thing(color, shape, float(x), float(y), float(radius), float(rng.uniform(-0.2, 0.2)))
    order = rng.permutation(len(SINGLE))[:2]
    captions = [SINGLE[i].format(size=size, name=thing.name, place=place, wall=wall) for i in order]
    return [thing], captions


def _double(rng: np.random.Generator, wall: str) -> tuple[list[Thing], list[str]]:
    one, two = random_name(rng), random_name(rng)
    while two == one:
        two = random_name(rng)
    relation = choose(rng, list(RELATIONS))
    first, second = place_pair(rng, one, two, relation)
    captions = []
    for i in rng.permutation(len(DOUBLE))[:2]:
        a, b, how = first.name, second.name, relation
        # Either object may be named first, so a caption never tells which was drawn first.
        if rng.random() < 0.5:
            a, b, how = b, a, OPPOSITES[relation]
        captions.append(DOUBLE[i].format(one=a, two=b, relation=how, wall=wall))
    return [first, second], captions


def draw_stills(count: int, side: int, seed: int) -> tuple[np.ndarray, list[list[str]]]:
    """``count`` stills: pictures (count, side, side, 3) uint8 and two captions of each.

    Every still has its own generator seeded by (seed, index), so the first n stills of a larger
    set are the stills of a smaller one.
    """
    images = np.empty((count, side, side, 3), np.uint8)
    captions: list[list[str]] = []
    for i in range(count):
        images[i], texts = draw_still(np.random.default_rng([seed, 0, i]), side)
        captions.append(texts)
    return images, captions
