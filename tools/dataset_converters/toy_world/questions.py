"""Questions about photos and videos, and their answers, from what is known of the pictures.

Answers are in the words of the stills, so that each question has one right answer; the questions
are reworded as the captions are, and the words that make them questions (what, which, how, many,
color, shape, do) are in no caption of a still.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .drawing import Thing
from .language import COLORS, MOTIONS, OPPOSITES, RELATIONS, SHAPES, SYNONYMS, WALLS, choose
from .photos import ROW, Scene
from .stills import random_name
from .videos import Script

NUMBERS = ("1", "2", "3")
PLACE_WORDS = ("left", "right", "top", "bottom", "middle")
KINDS = (tuple(COLORS), SHAPES, WALLS, NUMBERS, PLACE_WORDS, ("yes", "no"))


@dataclass(frozen=True)
class Asked:
    """A question with its answer and, as VQAv2 has them, the types of both."""

    text: str
    answer: str
    question_type: str
    answer_type: str = "other"


def _unique(things: Sequence[Thing], attribute: str) -> list[Thing]:
    """The things that no other one shares the attribute with."""
    counts = Counter(getattr(thing, attribute) for thing in things)
    return [thing for thing in things if counts[getattr(thing, attribute)] == 1]


def _attributes(things: Sequence[Thing]) -> list[Asked]:
    asked = [
        Asked(f"what color is the {t.shape} ?", t.color, "what color is the")
        for t in _unique(things, "shape")
    ]
    asked += [
        Asked(f"what shape is the {t.color} object ?", t.shape, "what")
        for t in _unique(things, "color")
    ]
    return asked


def ask_photo(scene: Scene, rng: np.random.Generator, count: int) -> list[Asked]:
    """At most ``count`` questions about a photo, of as many kinds as there are.

    Args:
        scene: What the photo shows.
        rng: The only source of randomness.
        count: Number of questions.
    """
    names = {thing.name for thing in scene.things}
    asked = _attributes(scene.things)
    number = str(len(scene.things))
    asked.append(Asked("how many objects on the wall ?", number, "how many", "number"))
    asked.append(Asked("what wall is there ?", scene.wall, "what"))
    other = " ".join(random_name(rng))
    if rng.random() < 0.5:
        other = choose(rng, sorted(names))
    answer = "yes" if other in names else "no"
    asked.append(Asked(f"is there a {other} ?", answer, "is there a", "yes/no"))
    if scene.kind == "pair":
        asked.append(_relation(scene, rng))
    else:
        places = ROW if scene.kind == "trio" else (scene.facts["place"],)
        asked += [
            Asked(f"where is the {t.name} ?", place.split()[-1], "where is the")
            for t, place in zip(scene.things, places, strict=True)
        ]
    return [asked[i] for i in rng.permutation(len(asked))[:count]]


def _relation(scene: Scene, rng: np.random.Generator) -> Asked:
    one, two = scene.things
    right = scene.facts["relation"]
    said = right if rng.random() < 0.5 else choose(rng, sorted(set(RELATIONS) - {right}))
    answer = "yes" if said == right else "no"
    if rng.random() < 0.5:
        one, two, said = two, one, OPPOSITES[said]
    return Asked(f"is the {one.name} {said} the {two.name} ?", answer, "is the", "yes/no")


def ask_video(script: Script, rng: np.random.Generator, count: int) -> list[Asked]:
    """At most ``count`` questions about a video.

    Args:
        script: What the video shows.
        rng: The only source of randomness.
        count: Number of questions.
    """
    things = [thing for shot in script.shots for thing in shot.things]
    asked = [*_attributes(things), Asked("what wall is there ?", script.wall, "what")]
    motion = script.key[-1] if script.kind == "motion" else "still"
    if motion != "still":
        # The actor is in the last shot, the witness beside it rests.
        actor, phrase = script.shots[-1].things[0], choose(rng, MOTIONS[motion])
        asked.append(Asked(f"what shape {phrase} the wall ?", actor.shape, "what"))
        asked.append(Asked(f"what color {phrase} the wall ?", actor.color, "what"))
    return [asked[i] for i in rng.permutation(len(asked))[:count]]


def annotate(answer: str, rng: np.random.Generator, synonyms: float = 0.2) -> list[str]:
    """What ten annotators say: most of them ``answer``, some its synonym, few something wrong.

    Args:
        answer: The right answer.
        rng: The only source of randomness.
        synonyms: Share of annotators that say the synonym, where there is one.
    """
    kind = next(kind for kind in KINDS if answer in kind)
    said = []
    for _ in range(10):
        draw = rng.random()
        if draw < 0.05:
            said.append(choose(rng, [word for word in kind if word != answer]))
        elif draw < 0.05 + synonyms:
            said.append(SYNONYMS.get(answer, answer))
        else:
            said.append(answer)
    return said


def annotation_of(asked: Asked, ids: dict[str, int], said: list[str]) -> dict[str, Any]:
    """An entry of VQAv2's official annotation files.

    Args:
        asked: The question.
        ids: ``image_id`` and ``question_id``.
        said: What the annotators say.
    """
    return {
        **ids,
        "question_type": asked.question_type,
        "answer_type": asked.answer_type,
        "multiple_choice_answer": max(said, key=said.count),
        "answers": [
            {"answer": word, "answer_confidence": "yes", "answer_id": number}
            for number, word in enumerate(said, start=1)
        ],
    }
