"""Relation questions about photos and statements about two of them, with what is true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .drawing import Thing
from .language import COLORS, OPPOSITES, RELATIONS, SHAPES, choose, write_articles
from .photos import Scene, write_scene

#: Words of these questions and statements that the world's vocabulary has not.
WORDS = ("both", "pictures", "more", "than", "are", "walls", "all", "other", "true", "false")

#: What the left and the right photo show.
Pair = tuple[Scene, Scene]
SIDES = ("left", "right")


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


def _seen(scene: Scene, attribute: str) -> set[str]:
    return {getattr(thing, attribute) for thing in scene.things}


def _shows(side: int, attribute: str, word: str, pair: Pair) -> bool:
    return word in _seen(pair[side], attribute)


def _claims(pair: Pair, rng: np.random.Generator) -> list[tuple[str, Callable[[Pair], bool]]]:
    """Statements of every kind that may be true of two photos, and what says whether they are."""
    claims: list[tuple[str, Callable[[Pair], bool]]] = []
    for attribute, options in (("color", tuple(COLORS)), ("shape", SHAPES)):
        seen = [_seen(scene, attribute) for scene in pair]
        word = choose(rng, sorted(seen[0] & seen[1]) or options)
        both = partial(_shows, 0, attribute, word), partial(_shows, 1, attribute, word)
        text = f"there is a {_named(attribute, word)} in both pictures"
        claims.append((text, lambda pair, both=both: all(shows(pair) for shows in both)))
        for side, own in enumerate(seen):
            word = choose(rng, sorted(own))
            text = f"the {SIDES[side]} picture shows a {_named(attribute, word)}"
            claims.append((text, partial(_shows, side, attribute, word)))
    wall = choose(rng, sorted({scene.wall for scene in pair}))
    claims.append((f"both walls are {wall}", lambda pair: all(s.wall == wall for s in pair)))
    number = sum(len(scene.things) for scene in pair)
    text = f"there are {number} objects in all"
    claims.append((text, lambda pair: sum(len(s.things) for s in pair) == number))
    for side, name in enumerate(SIDES):
        text = f"the {name} picture shows more objects than the other"
        claims.append((text, partial(_more, side)))
    return claims


def _named(attribute: str, word: str) -> str:
    return f"{word} object" if attribute == "color" else word


def _more(side: int, pair: Pair) -> bool:
    return len(pair[side].things) > len(pair[1 - side].things)


def state(true: Pair, false: Pair, rng: np.random.Generator) -> str | None:
    """A statement that is true of two photos and false of two others.

    As NLVR2's statements are said of several pairs, the words alone do not tell whether it is true.

    Args:
        true: What the left and the right photo show that it is true of.
        false: The same, that it is false of.
        rng: The only source of randomness.

    Returns:
        The statement; None if none was found.
    """
    claims = [(text, holds) for text, holds in _claims(true, rng) if holds(true)]
    found = [text for text, holds in claims if not holds(false)]
    return write_articles(choose(rng, found)) if found else None


def pick_pair(rng: np.random.Generator, scenes: Sequence[Scene]) -> tuple[int, int]:
    """Numbers of two different scenes."""
    first, second = rng.permutation(len(scenes))[:2].tolist()
    return first, second
