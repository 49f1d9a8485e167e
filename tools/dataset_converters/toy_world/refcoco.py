"""RefCOCO's twin: pictures of several things, and expressions that each mean one of them.

Pictures of uneven sizes show some things that do not overlap. An expression names one by what no
other has (its colour, its shape, or both), or by where it stands beside another. There are two
worlds of them in one folder: ``stills``, one to three things in the look and the words of the
stills, to pre-train a small MDETR on, and ``train2014``, two to four things taken by another camera
and told in other words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .drawing import Thing, draw_thing, draw_wall, outline, paint
from .files import write_jpg, write_json
from .language import RELATIONS, WALLS, choose, shift_language
from .photos import CAMERAS
from .stills import random_name

#: Number of this world, which tells its random streams apart.
REFCOCO = 8
#: Pictures of each file. testA has expressions by name, testB by relation.
SIZES = {
    "pretrain_train": 8000,
    "pretrain_val": 200,
    "finetune_refcoco_train": 800,
    "finetune_refcoco_val": 120,
    "finetune_refcoco_testA": 200,
    "finetune_refcoco_testB": 200,
}
SIDE = 96
LEAST_SIDE = 72


@dataclass(frozen=True)
class Phrase:
    """An expression about a thing of a picture.

    Attributes:
        number: Which thing it means.
        head: The words that name it, such as ``'red star'``.
        rest: What follows them.
        kind: ``'name'`` or ``'relation'``.
    """

    number: int
    head: str
    rest: str
    kind: str


def extent(thing: Thing, side: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is drawn of a thing, in pixels.

    Args:
        thing: The thing.
        side: Side that its position and radius are shares of.
    """
    center, radius = np.array([thing.x, thing.y]) * side, thing.radius * side
    if thing.shape in ("circle", "ring"):
        reach = 0.95 * radius
        if thing.shape == "ring":
            reach = 0.75 * radius + max(2, round(0.4 * radius)) / 2
        low, high = center - reach, center + reach
    else:
        corners = outline(thing, side)
        low, high = corners.min(0), corners.max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def write_scene(rng: np.random.Generator, count: int, width: int, height: int) -> list[Thing]:
    """Up to ``count`` things of different names whose extents are apart, inside of a picture."""
    things, names = list[Thing](), list[tuple[str, str]]()
    boxes: list[tuple[float, float, float, float]] = []
    for _ in range(200):
        if len(things) == count:
            break
        name = random_name(rng)
        if names and rng.random() < 0.5:
            # Alike things, which a colour or a shape alone does not tell apart.
            like = names[int(rng.integers(len(names)))]
            name = (like[0], name[1]) if rng.random() < 0.5 else (name[0], like[1])
        x, y = rng.uniform(0, width / SIDE), rng.uniform(0, height / SIDE)
        radius, angle = rng.uniform(0.1, 0.19), rng.uniform(-0.2, 0.2)
        thing = Thing(*name, float(x), float(y), float(radius), float(angle))
        box = extent(thing, SIDE)
        inside = min(box[:2]) >= 1 and box[2] <= width - 1 and box[3] <= height - 1
        if name in names or not inside or any(_touch(box, other) for other in boxes):
            continue
        names.append(name)
        things.append(thing)
        boxes.append(box)
    return things


def _touch(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    gap = 2
    across = one[0] < other[2] + gap and other[0] < one[2] + gap
    return across and one[1] < other[3] + gap and other[1] < one[3] + gap


def phrases(things: list[Thing], rng: np.random.Generator) -> list[Phrase]:
    """One expression of each kind about each thing, as far as there is one."""
    found = []
    for number, thing in enumerate(things):
        others = [other for other in things if other is not thing]
        names = [thing.name]
        if all(other.shape != thing.shape for other in others):
            names.append(thing.shape)
        if all(other.color != thing.color for other in others):
            names.append(f"{thing.color} object")
        found.append(Phrase(number, choose(rng, names), "", "name"))
        told = [
            Phrase(number, head, f"{relation} the {other.name}", "relation")
            for other in others
            for relation, (dx, dy) in RELATIONS.items()
            for head in ("object", thing.shape)
            if _stands(thing, other, dx, dy)
            and not any(
                _stands(third, other, dx, dy) and head in ("object", third.shape)
                for third in others
                if third is not other
            )
        ]
        if told:
            found.append(told[int(rng.integers(len(told)))])
    return found


def _stands(one: Thing, other: Thing, dx: float, dy: float) -> bool:
    """Whether a thing stands in a direction of another, by its centre."""
    return dx * (one.x - other.x) + dy * (one.y - other.y) > 0.06


def _pictures(
    options: dict[str, Any], name: str, first: int
) -> Iterator[tuple[int, np.ndarray, list[Thing], list[Phrase], np.random.Generator]]:
    pictures = max(4, round(SIZES[name] * options["share"]))
    shifted = name.startswith("finetune")
    for number in range(first, first + pictures):
        rng = np.random.default_rng([options["seed"], REFCOCO, number])
        sides = [SIDE, int(rng.integers(LEAST_SIDE, SIDE + 1))]
        width, height = sides if rng.random() < 0.5 else sides[::-1]
        count = int(rng.integers(2, 5) if shifted else rng.integers(1, 4))
        things = write_scene(rng, count, width, height)
        image = draw_wall(choose(rng, WALLS), SIDE, rng)
        for thing in things:
            draw_thing(image, thing, paint(rng, thing.color))
        if shifted:
            image = CAMERAS["dusk"](image[None], rng, options["camera"])[0]
        yield number, image[:height, :width], things, phrases(things, rng), rng


def write_refcoco(out: Path, options: dict[str, Any]) -> str:
    """RefCOCO: ``{pretrain,finetune_refcoco}_*.json`` in MDETR's format, and their pictures."""
    digest, first = hashlib.sha256(), 1
    for name in SIZES:
        shifted = name.startswith("finetune")
        folder = out / ("train2014" if shifted else "stills")
        folder.mkdir(parents=True, exist_ok=True)
        kinds = {"testA": ("name",), "testB": ("relation",)}
        wanted = kinds.get(name.rpartition("_")[2], ("name", "relation"))
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, image, things, told, rng in _pictures(options, name, first):
            first = number + 1
            file = f"COCO_train2014_{number:012d}.jpg" if shifted else f"{number:06d}.jpg"
            write_jpg(folder / file, image)
            digest.update(image.tobytes())
            for phrase in told:
                if phrase.kind not in wanted:
                    continue
                words = [phrase.head, *([phrase.rest] if phrase.rest else [])]
                if shifted:
                    words = [shift_language(word, rng, options["new_words"]) for word in words]
                entry, caption = len(images), f"the {' '.join(words)}"
                images.append(
                    {
                        "file_name": file,
                        "height": image.shape[0],
                        "width": image.shape[1],
                        "id": entry,
                        "original_id": number,
                        "caption": caption,
                        "dataset_name": "refcoco",
                        "tokens_negative": [[0, len(caption)]],
                    }
                )
                left, top, right, bottom = extent(things[phrase.number], SIDE)
                bbox = [round(side, 2) for side in (left, top, right - left, bottom - top)]
                annotations.append(
                    {
                        "area": round(bbox[2] * bbox[3], 2),
                        "iscrowd": 0,
                        "image_id": entry,
                        "category_id": 1,
                        "id": entry,
                        "bbox": bbox,
                        "original_id": number,
                        "tokens_positive": [[4, 4 + len(words[0])]],
                    }
                )
        content = {
            "info": {"description": "toy world in the format of MDETR"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "object"}],
        }
        write_json(out / f"{name}.json", content)
        digest.update(json.dumps(content).encode())
    return digest.hexdigest()
