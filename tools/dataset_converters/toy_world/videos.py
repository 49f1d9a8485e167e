"""Short videos with captions: motion, order, and events that only a few frames show.

A video is a list of *shots* (spans of frames); each shot moves its things along paths. Videos are
drawn like the stills and then filmed by another camera (:func:`night_camera`): that is the visual
shift. Captions are written in the words of the stills and then reworded
(:func:`toy_world.language.shift_language`): that is the language shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .drawing import Thing, draw_thing, draw_wall, paint
from .language import MOTIONS, OPPOSITES, RELATIONS, WALLS, choose, shift_language
from .stills import place_pair, random_name

KINDS = ("event", "motion", "order")
KIND_SHARES = (0.6, 0.2, 0.2)
# Shares of a video's length that an event lasts: 2 or 3 of 8 uniformly sampled frames show it.
EVENT_SPAN = (0.28, 0.36)

EVENT_TEMPLATES = (
    "a {one} {relation} a {two} shows up briefly before a {wall} wall",
    "for a moment there is a {one} {relation} a {two}",
    "a {one} appears {relation} a {two} on a {wall} wall",
    "a video of a {wall} wall where a {one} {relation} a {two} flashes",
    "a {one} pops up {relation} a {two}",
)
MOTION_TEMPLATES = (
    "a {one} {motion} a {wall} wall while a {two} sits there",
    "a clip of a {two} and a {one} which {motion} a {wall} wall",
    "the {one} {motion} a {wall} wall next to a {two}",
)
ORDER_TEMPLATES = (
    "first a {one} then a {two} on a {wall} wall",
    "a {one} appears and later a {two} before a {wall} wall",
    "a video of a {one} and then a {two}",
)


@dataclass(frozen=True)
class Shot:
    """Things on screen from ``start`` to ``stop`` (fractions of the video) and how they move."""

    start: float
    stop: float
    things: tuple[Thing, ...]
    motion: str = "drift"


@dataclass(frozen=True)
class Video:
    """A drawn video: what it shows and what is said about it.

    ``key`` names what the captions can tell apart, without any order: two videos of one key
    would be the same to a model that sees a set of frames.
    """

    frames: np.ndarray
    captions: tuple[str, ...]
    kind: str
    key: tuple[str, ...]


@dataclass(frozen=True)
class Script:
    """What a video is going to show, before anything is drawn."""

    kind: str
    wall: str
    shots: tuple[Shot, ...]
    captions: tuple[str, ...]
    key: tuple[str, ...]


def night_camera(frames: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Film ``frames`` (N, H, W, 3 uint8) by another camera: dim, tinted, pale, noisy, vignetted.

    ``strength`` 0 leaves the frames alone, 1 is the look of the published recipe.
    """
    if strength <= 0:
        return frames
    x = frames.astype(np.float32)
    gray = x.mean(-1, keepdims=True)
    x = x + 0.45 * strength * (gray - x)
    tint = np.array([0.42, 0.72, 0.62]) ** strength
    x = x * tint + np.array([8.0, 30.0, 26.0]) * strength
    side = x.shape[1]
    yy, xx = np.mgrid[0:side, 0:side] / (side - 1) - 0.5
    x = x * (1 - 0.7 * strength * (xx**2 + yy**2))[..., None]
    x = x + rng.normal(0, 9 * strength, x.shape[:3])[..., None]
    return np.clip(x, 0, 255).astype(np.uint8)


def _move(thing: Thing, motion: str, t: float) -> Thing:
    """Where ``thing`` is at time ``t`` in [0, 1] of its shot."""
    if motion == "across":
        return replace(thing, x=0.14 + 0.72 * t)
    if motion == "vertical":
        return replace(thing, y=0.5 + 0.36 * float(np.sin(2 * np.pi * t)))
    if motion == "swell":
        return replace(thing, radius=thing.radius * (0.5 + 1.2 * t))
    if motion == "drift":
        return replace(thing, x=thing.x + 0.04 * (t - 0.5))
    return thing


def _others(rng: np.random.Generator, count: int, banned: set[str]) -> list[tuple[str, str]]:
    """``count`` (colour, shape) that no caption of the video names."""
    found: list[tuple[str, str]] = []
    while len(found) < count:
        name = random_name(rng)
        if " ".join(name) not in banned:
            found.append(name)
    return found


def pair_shot(
    rng: np.random.Generator, one: tuple[str, str], two: tuple[str, str], span: tuple[float, float]
) -> tuple[Shot, str]:
    """Two things that stand somehow to each other during ``span``, and how the first one does."""
    relation = choose(rng, list(RELATIONS))
    return Shot(*span, place_pair(rng, one, two, relation)), relation


def _event(rng: np.random.Generator, wall: str) -> tuple[list[Shot], list[str], tuple[str, ...]]:
    one, two = random_name(rng), random_name(rng)
    while two == one:
        two = random_name(rng)
    length = rng.uniform(*EVENT_SPAN)
    start = rng.uniform(0, 1 - length)
    stop = start + length
    event, relation = pair_shot(rng, one, two, (start, stop))
    others = _others(rng, 4, {" ".join(one), " ".join(two)})
    before, _ = pair_shot(rng, others[0], others[1], (0.0, start))
    after, _ = pair_shot(rng, others[2], others[3], (stop, 1.0))
    shots = [shot for shot in (before, event, after) if shot.stop > shot.start]
    a, b = " ".join(one), " ".join(two)
    captions = []
    for i in rng.permutation(len(EVENT_TEMPLATES)):
        first, second, how = (a, b, relation)
        if rng.random() < 0.5:
            first, second, how = b, a, OPPOSITES[relation]
        captions.append(EVENT_TEMPLATES[i].format(one=first, two=second, relation=how, wall=wall))
    return shots, captions, tuple(sorted((a, b)))


def _motion(rng: np.random.Generator, wall: str) -> tuple[list[Shot], list[str], tuple[str, ...]]:
    motion = choose(rng, list(MOTIONS))
    one, two = random_name(rng), random_name(rng)
    while two == one:
        two = random_name(rng)
    x, y = (0.3, 0.5) if motion != "across" else (0.3, 0.3)
    actor = Thing(*one, x=x, y=y, radius=float(rng.uniform(0.15, 0.19)))
    witness = Thing(*two, x=0.76, y=0.76, radius=float(rng.uniform(0.15, 0.19)))
    if rng.random() < 0.5 and motion != "across":
        actor, witness = replace(actor, x=0.7), replace(witness, x=0.24)
    shots = [Shot(0.0, 1.0, (witness,), "still"), Shot(0.0, 1.0, (actor,), motion)]
    a, b = actor.name, witness.name
    captions = [
        MOTION_TEMPLATES[i].format(one=a, two=b, wall=wall, motion=choose(rng, MOTIONS[motion]))
        for i in rng.permutation(len(MOTION_TEMPLATES))
    ]
    return shots, captions, (*sorted((a, b)), motion)


def _order(rng: np.random.Generator, wall: str) -> tuple[list[Shot], list[str], tuple[str, ...]]:
    one, two = random_name(rng), random_name(rng)
    while two == one:
        two = random_name(rng)
    cut = rng.uniform(0.4, 0.6)
    shots = []
    for name, span in ((one, (0.0, cut)), (two, (cut, 1.0))):
        x, y = rng.uniform(0.35, 0.65, 2)
        thing = Thing(*name, x=float(x), y=float(y), radius=float(rng.uniform(0.16, 0.24)))
        shots.append(Shot(*span, (thing,)))
    a, b = " ".join(one), " ".join(two)
    captions = [
        ORDER_TEMPLATES[i].format(one=a, two=b, wall=wall)
        for i in rng.permutation(len(ORDER_TEMPLATES))
    ]
    return shots, captions, tuple(sorted((a, b)))


_MAKERS = {"event": _event, "motion": _motion, "order": _order}


def write_script(rng: np.random.Generator) -> Script:
    """Decide what a video shows; ``rng`` must be as :func:`draw_video` would get it."""
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    wall = choose(rng, WALLS)
    shots, texts, key = _MAKERS[kind](rng, wall)
    return Script(kind, wall, tuple(shots), tuple(texts), key)


def render(shots: Sequence[Shot], wall: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw 24 to 40 frames (T, side, side, 3) uint8 RGB of ``shots`` before a wall."""
    count = int(rng.integers(24, 41))
    back = draw_wall(wall, side, rng)
    colors = {
        (i, j): paint(rng, t.color) for i, s in enumerate(shots) for j, t in enumerate(s.things)
    }
    frames = np.repeat(back[None], count, 0)
    for n in range(count):
        at = (n + 0.5) / count
        for i, shot in enumerate(shots):
            if not shot.start <= at < shot.stop:
                continue
            t = (at - shot.start) / (shot.stop - shot.start)
            for j, thing in enumerate(shot.things):
                draw_thing(frames[n], _move(thing, shot.motion, t), colors[i, j])
    return frames


def draw_video(
    rng: np.random.Generator,
    side: int,
    captions: int = 3,
    new_words: float = 0.5,
    camera: float = 0.6,
) -> Video:
    """One video.

    Args:
        rng: the only source of randomness.
        side: height and width in pixels.
        captions: number of captions, at most as many as the kind of video has templates.
        new_words: share of the old words that are replaced by their synonyms.
        camera: strength of :func:`night_camera`.

    Returns:
        The video; frames are (T, side, side, 3) uint8 RGB with 24 to 40 frames.
    """
    script = write_script(rng)
    frames = night_camera(render(script.shots, script.wall, side, rng), rng, camera)
    spoken = tuple(shift_language(text, rng, new_words) for text in script.captions[:captions])
    return Video(frames, spoken, script.kind, script.key)
