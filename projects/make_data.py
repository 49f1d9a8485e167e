"""Draw the pictures that all projects here train on: python projects/make_data.py data/projects.

Three shapes in one colour each, 24 of each for training and 8 for testing, 32 pixels high: a folder
a class (``train/red_square/0.png``, mmpretrain's ``CustomDataset``), captions as JSON lines
(``train.jsonl``, ``RetrievalJsonDataset``) and as a table (``train.csv``, ``new_dataset/``).
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = {"red square": (200, 40, 40), "green bar": (40, 190, 40), "blue dot": (40, 40, 210)}
COUNTS = {"train": 24, "test": 8}
SIZE = 32


def draw(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A picture (32, 32, 3) uint8: the shape somewhere on a noisy ground."""
    canvas = rng.normal(110, 25, (SIZE, SIZE, 3))
    height, width = {"square": (14, 14), "bar": (6, 22), "dot": (8, 8)}[kind.split()[1]]
    top, left = rng.integers(SIZE - height), rng.integers(SIZE - width)
    canvas[top : top + height, left : left + width] = KINDS[kind]
    return canvas.clip(0, 255).astype(np.uint8)


def write(folder: Path, counts: dict[str, int] | None = None) -> None:
    """Write both splits.

    Args:
        folder: Where to.
        counts: Pictures of each kind by split.
    """
    rng = np.random.default_rng(0)
    for split, count in (counts or COUNTS).items():
        rows = []
        for kind in KINDS:
            place = folder / split / kind.replace(" ", "_")
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.fromarray(draw(kind, rng)).save(place / f"{number}.png")
                name = f"{split}/{place.name}/{number}.png"
                rows.append((name, f"a {kind}, picture {number}"))
        lines = [json.dumps({"media": name, "text": text}) for name, text in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        with open(folder / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=";").writerows([("picture", "caption"), *rows])


def main(argv: list[str] | None = None) -> None:
    """Write where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to, such as data/projects")
    args = parser.parse_args(argv)
    write(args.folder)
    print(f"{sum(COUNTS.values()) * len(KINDS)} pictures in {args.folder}")


if __name__ == "__main__":
    main()
