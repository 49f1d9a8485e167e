"""GLUE's twin: sentences about scenes of the world, and what a small T5 is pre-trained on.

A scene is two things, how they lie and the wall behind them. There are a part of CoLA (is it a
sentence), of MRPC (do two sentences say the same) and of RTE (does one follow from another), in
GLUE's files, half of their words said by synonyms; and ``pretrain.jsonl``, texts with what is to be
written: words that sentinels stand for, the same in the world's plain words, the same from the
other thing's side, answers, and 1 or 0 to what is asked of one sentence or of one side of two.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from uniadapter.utils.safe_io import atomic_write

from .language import (
    COLORS,
    OPPOSITES,
    RELATIONS,
    SHAPES,
    WALLS,
    choose,
    shift_language,
    write_articles,
)

#: Number of this world, which tells its random streams apart.
GLUE = 9
#: Samples of train, dev and test of each task, and pairs to pre-train on.
SIZES = (4000, 1000, 100)
PAIRS = 60000


@dataclass(frozen=True)
class Scene:
    """Two things, how the first lies to the second, and the wall."""

    colors: tuple[str, str]
    shapes: tuple[str, str]
    relation: str
    wall: str

    def thing(self, number: int) -> str:
        """Colour and shape of a thing."""
        return f"{self.colors[number]} {self.shapes[number]}"

    def turned(self) -> Scene:
        """The same from the side of the other thing."""
        return Scene(self.colors[::-1], self.shapes[::-1], OPPOSITES[self.relation], self.wall)

    def sentence(self) -> str:
        """All of it, in the world's plain words."""
        things = f"a {self.thing(0)} is {self.relation} a {self.thing(1)}"
        return write_articles(f"{things} on a {self.wall} wall")


def draw_scene(rng: np.random.Generator) -> Scene:
    """Two things of different colours and shapes."""
    first, second = (rng.permutation(len(options))[:2] for options in (COLORS, SHAPES))
    colors, shapes = [list(COLORS)[i] for i in first], [SHAPES[i] for i in second]
    relation, wall = choose(rng, list(RELATIONS)), choose(rng, WALLS)
    return Scene((colors[0], colors[1]), (shapes[0], shapes[1]), relation, wall)


def other(rng: np.random.Generator, options: Any, *taken: str) -> str:
    """An option that is none of those taken."""
    return choose(rng, [option for option in options if option not in taken])


def altered(rng: np.random.Generator, scene: Scene) -> Scene:
    """A scene that differs in one colour, in the relation or in the wall."""
    kind = choose(rng, ["color", "relation", "wall"])
    if kind == "color":
        return replace(scene, colors=(other(rng, COLORS, *scene.colors), scene.colors[1]))
    if kind == "relation":
        return replace(scene, relation=OPPOSITES[scene.relation])
    return replace(scene, wall=other(rng, WALLS, scene.wall))


def statement(rng: np.random.Generator, scene: Scene) -> str:
    """A part of what a scene shows."""
    number = int(rng.integers(2))
    return write_articles(
        choose(
            rng,
            [
                f"there is a {scene.thing(number)}",
                f"a {scene.shapes[0]} is {scene.relation} a {scene.shapes[1]}",
                f"the wall is {scene.wall}",
            ],
        )
    )


def spoil(rng: np.random.Generator, sentence: str) -> str:
    """A text that is no sentence: a word twice, two exchanged, or one missing."""
    words = sentence.split()
    while True:
        found, at = list(words), int(rng.integers(len(words) - 1))
        kind = int(rng.integers(3))
        if kind == 0:
            found.insert(at, found[at])
        elif kind == 1:
            found[at], found[at + 1] = found[at + 1], found[at]
        else:
            del found[at]
        if found != words:
            return " ".join(found)


def rows_of(task: str, rng: np.random.Generator, share: float) -> tuple[list[str], str]:
    """Texts and label of a sample, words said by synonyms with probability ``share``."""
    scene, positive = draw_scene(rng), bool(rng.integers(2))
    first = shift_language(scene.sentence(), rng, share)
    if task == "CoLA":
        return [first if positive else spoil(rng, first)], str(int(positive))
    if task == "MRPC":
        text = (scene if positive else altered(rng, scene)).sentence()
        return [first, shift_language(text, rng, share)], str(int(positive))
    while True:
        # A statement may leave out what was altered.
        text = statement(rng, scene if positive else altered(rng, scene))
        if positive or not follows(scene, text):
            break
    return [first, shift_language(text, rng, share)], "entailment" if positive else "not_entailment"


def follows(scene: Scene, text: str) -> bool:
    """Whether a statement in plain words is true of a scene."""
    words = text.split()
    if words[0] == "there":
        return " ".join(words[-2:]) in (scene.thing(0), scene.thing(1))
    if words[:3] == ["the", "wall", "is"]:
        return words[3] == scene.wall
    sides = (scene, scene.turned())
    said = {write_articles(f"a {s.shapes[0]} is {s.relation} a {s.shapes[1]}") for s in sides}
    return text in said


FORMS: dict[str, tuple[str, str, str]] = {
    "CoLA": ("", "toy\t{y}\t\t{0}", "index\tsentence"),
    "MRPC": (
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "{y}\t{i}\t{i}\t{0}\t{1}",
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String",
    ),
    "RTE": (
        "index\tsentence1\tsentence2\tlabel",
        "{i}\t{0}\t{1}\t{y}",
        "index\tsentence1\tsentence2",
    ),
}
_TEST = {"CoLA": "{i}\t{0}", "MRPC": "{i}\t{i}\t{i}\t{0}\t{1}", "RTE": "{i}\t{0}\t{1}"}


def pairs(rng: np.random.Generator, count: int, share: float) -> Iterator[dict[str, str]]:
    """Yield texts and what is to be written."""
    kinds: list[Callable[[np.random.Generator, Scene, str], tuple[str, str]]] = [
        lambda rng, scene, said: mask(rng, said),
        lambda rng, scene, said: (f"plain: {said}", scene.sentence()),
        lambda rng, scene, said: (f"turn: {said}", scene.turned().sentence()),
        _ask,
        # A label is one token, and three times as often.
        *3 * [lambda rng, scene, said: _judge(rng, scene, said, share)],
        *3 * [lambda rng, scene, said: _compare(rng, scene, said, share)],
    ]
    for _ in range(count):
        scene = draw_scene(rng)
        said = shift_language(scene.sentence(), rng, share)
        text, target = kinds[int(rng.integers(len(kinds)))](rng, scene, said)
        yield {"text": text, "target": target}


def _ask(rng: np.random.Generator, scene: Scene, said: str) -> tuple[str, str]:
    number = int(rng.integers(2))
    question = choose(rng, ["color", "where", "wall"])
    if question == "color":
        return f"what color is the {scene.shapes[number]}? {said}", scene.colors[number]
    if question == "wall":
        return f"which wall? {said}", scene.wall
    scene = scene if number == 0 else scene.turned()
    return f"where is the {scene.shapes[0]}? {said}", scene.relation


def _judge(rng: np.random.Generator, scene: Scene, said: str, share: float) -> tuple[str, str]:
    """Whether there is a colour or shape, or a colour, relation or wall is as asked: 1 or 0."""
    true, number = bool(rng.integers(2)), int(rng.integers(2))
    seen = scene.turned() if number else scene
    kind = choose(rng, ["one color", "one shape", "color", "where", "wall"])
    if kind == "one color":
        asked = f"one {seen.colors[0] if true else other(rng, list(COLORS), *seen.colors)}"
    elif kind == "one shape":
        asked = f"one a {seen.shapes[0] if true else other(rng, SHAPES, *seen.shapes)}"
    elif kind == "wall":
        asked = f"the wall {seen.wall if true else other(rng, WALLS, seen.wall)}"
    elif kind == "color":
        color = seen.colors[0] if true else other(rng, list(COLORS), seen.colors[0])
        asked = f"the {seen.shapes[0]} {color}"
    else:
        relation = seen.relation if true else OPPOSITES[seen.relation]
        asked = f"the {seen.shapes[0]} {relation} the {seen.shapes[1]}"
    return f"is {shift_language(asked, rng, share)}? {said}", str(int(true))


def _compare(rng: np.random.Generator, scene: Scene, said: str, share: float) -> tuple[str, str]:
    """Whether two scenes agree in colours, in shapes, in how things lie or in the wall: 1 or 0."""
    true, found = bool(rng.integers(2)), draw_scene(rng)
    kind, at = choose(rng, ["color", "shape", "where", "wall"]), int(rng.integers(2))
    colors, shapes = list(scene.colors), list(scene.shapes)
    if kind == "color":
        colors[at] = colors[at] if true else other(rng, list(COLORS), *colors)
        found = replace(found, colors=(colors[0], colors[1]))
    elif kind == "shape":
        shapes[at] = shapes[at] if true else other(rng, SHAPES, *shapes)
        found = replace(found, shapes=(shapes[0], shapes[1]))
    elif kind == "where":
        lies = scene.relation if true else other(rng, list(RELATIONS), scene.relation)
        found = replace(found, relation=lies)
    else:
        found = replace(found, wall=scene.wall if true else other(rng, WALLS, scene.wall))
    second = shift_language(found.sentence(), rng, share)
    return f"{kind} sentence1: {said} sentence2: {second}", str(int(true))


def mask(rng: np.random.Generator, sentence: str) -> tuple[str, str]:
    """T5's task: two spans of one or two words are replaced by sentinels, and written."""
    words = sentence.split()
    first = int(rng.integers(1, len(words) - 5))
    second = int(rng.integers(first + 3, len(words) - 1))
    spans = [(first, first + int(rng.integers(1, 3))), (second, second + int(rng.integers(1, 3)))]
    text, target, done = [], [], 0
    for number, (begin, end) in enumerate(spans):
        sentinel = f"<extra_id_{number}>"
        text += [*words[done:begin], sentinel]
        target += [sentinel, *words[begin:end]]
        done = end
    return " ".join([*text, *words[done:]]), " ".join(target)


def write_glue(out: Path, options: dict[str, Any]) -> str:
    """GLUE: three tasks in the published files, and ``pretrain.jsonl``."""
    sizes = [max(4, round(size * options["share"])) for size in SIZES]
    share, digest = options["new_words"], hashlib.sha256()
    for number, (task, (header, form, test_header)) in enumerate(FORMS.items()):
        (out / task).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([options["seed"], GLUE, number])
        for part, size in zip(("train", "dev", "test"), sizes, strict=True):
            testing = part == "test"
            lines = [test_header if testing else header]
            for index in range(size):
                texts, label = rows_of(task, rng, share)
                body = _TEST[task] if testing else form
                lines.append(body.format(*texts, i=index, y=label))
            content = "\n".join(line for line in lines if line) + "\n"
            atomic_write((out / task / f"{part}.tsv"), content.encode(), sync=False)
            digest.update(content.encode())
    rng = np.random.default_rng([options["seed"], GLUE, len(FORMS)])
    found = pairs(rng, max(16, round(PAIRS * options["share"])), share)
    content = "".join(json.dumps(pair) + "\n" for pair in found)
    atomic_write((out / "pretrain.jsonl"), content.encode(), sync=False)
    digest.update(content.encode())
    return digest.hexdigest()
