"""Relation questions about photos and statements about two of them, with what is true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .drawing import Thing
from .language import COLORS, OPPOSITES, RELATIONS, SHAPES, WALLS, choose, write_articles
from .photos import Scene, write_scene

#: Words of these questions and statements that the world's vocabulary has not.
WORDS = ("both", "pictures", "more", "than", "are", "walls", "all", "other", "true", "false")


def related_scene(rng: np.random.Generator) -> Scene:
    """A scene of two or three things."""
    while True:
        scene = write_scene(rng)
        if len(scene.things) > 1:
            return scene


def relations_of(scene: Scene) -> list[tuple[Thing, str, Thing]]:
    """How the things of a scene stand to each other, each pair from both sides."""
    things = scene.things
    if scene.kind == "pair":
        found = [(things[0], scene.facts["relation"], things[1])]
    else:
        # Three stand in a row, from the left.
        found = [(a, "left of", b) for i, a in enumerate(things) for b in things[i + 1 :]]
    return found + [(b, OPPOSITES[how], a) for a, how, b in found]


def ask_relations(scene: Scene, rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """At most ``count`` questions about how things stand to each other, with their answers.

    Args:
        scene: What the photo shows, two things at least.
        rng: The only source of randomness.
        count: Number of questions.
    """
    found = relations_of(scene)
    asked = []
    for a, how, b in found:
        said = how if rng.random() < 0.5 else choose(rng, sorted(set(RELATIONS) - {how}))
        asked.append((f"is the {a.name} {said} the {b.name} ?", "yes" if said == how else "no"))
        if sum((other, b) == (how, two) for _, other, two in found) == 1:
            asked.append((f"what color is the object {how} the {b.name} ?", a.color))
            asked.append((f"what shape is the object {how} the {b.name} ?", a.shape))
            asked.append((f"what is {how} the {b.name} ?", a.name))
    return [asked[i] for i in rng.permutation(len(asked))[:count]]


def _claims(left: Scene, right: Scene, rng: np.random.Generator) -> list[tuple[str, bool]]:
    """Statements of every kind about two photos, and whether they are true."""
    sides = (("left", left), ("right", right))
    claims = []
    for attribute, options in (("color", tuple(COLORS)), ("shape", SHAPES)):
        seen = [{getattr(thing, attribute) for thing in scene.things} for _, scene in sides]
        word = choose(rng, sorted(seen[0] & seen[1]) or options)
        named = f"{word} object" if attribute == "color" else word
        claims.append((f"there is a {named} in both pictures", word in seen[0] & seen[1]))
        for side, own in zip(("left", "right"), seen, strict=True):
            word = choose(rng, sorted(own)) if rng.random() < 0.5 else choose(rng, options)
            named = f"{word} object" if attribute == "color" else word
            claims.append((f"the {side} picture shows a {named}", word in own))
    wall = choose(rng, (left.wall, *WALLS))
    claims.append((f"both walls are {wall}", left.wall == right.wall == wall))
    counts = [len(scene.things) for _, scene in sides]
    number = int(rng.integers(2, 7))
    claims.append((f"there are {number} objects in all", sum(counts) == number))
    for i, side in enumerate(("left", "right")):
        text = f"the {side} picture shows more objects than the other"
        claims.append((text, counts[i] > counts[1 - i]))
    return claims


def state(left: Scene, right: Scene, rng: np.random.Generator, true: bool) -> str:
    """A statement about two photos that is true, or one that is false.

    Args:
        left: What the left photo shows.
        right: What the right one shows.
        rng: The only source of randomness.
        true: Which of both.
    """
    while True:
        found = [text for text, holds in _claims(left, right, rng) if holds == true]
        if found:
            return write_articles(choose(rng, found))


def pick_pair(rng: np.random.Generator, scenes: Sequence[Scene]) -> tuple[int, int]:
    """Numbers of two different scenes."""
    first, second = rng.permutation(len(scenes))[:2].tolist()
    return first, second
