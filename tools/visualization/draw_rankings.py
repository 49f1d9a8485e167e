"""Draw text queries with their ranked videos from the ranking that a test has dumped.

    python tools/test.py CONFIG CHECKPOINT --cfg-options test_cfg.dump=ranking.json
    python tools/visualization/draw_rankings.py ranking.json queries.png

A row is a query; its videos stand from the best score to the worst, each as a strip of frames, the
right one in a green frame.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from uniadapter.datasets.transforms import LoadVideo

RIGHT, WRONG = (40, 170, 70), (190, 190, 190)
BORDER, GAP, HEADER = 3, 8, 18


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw queries with their ranked videos.")
    parser.add_argument("ranking", help="file that test_cfg.dump has written")
    parser.add_argument("out", help="picture to write (.png)")
    parser.add_argument("--queries", type=int, default=5, help="queries, spread over the split")
    parser.add_argument("--videos", type=int, default=4, help="videos of a query")
    parser.add_argument("--frames", type=int, default=6, help="frames of a video")
    parser.add_argument("--height", type=int, default=56, help="height of a frame in pixels")
    return parser.parse_args(argv)


def read_ranking(path: str | Path) -> dict[str, Any]:
    """Read a dumped ranking.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is no ranking, or has no query.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: tools/test.py writes it with test_cfg.dump={path}."
        )
    content = json.loads(path.read_text(encoding="utf-8"))
    keys = {"texts", "media", "positives", "top"}
    if not isinstance(content, dict) or not keys <= set(content) or not content["texts"]:
        raise ValueError(f"{path} is no ranking: the keys {sorted(keys)} are expected, not empty.")
    return content


def strip(path: str, frames: int, height: int, color: tuple[int, int, int]) -> Image.Image:
    """Frames of a video side by side inside a border of ``color``."""
    pictures = LoadVideo(num_frames=frames).transform({"media_path": path})["frames"]
    wide = Image.fromarray(np.concatenate(list(pictures), axis=1))
    wide = wide.resize((round(wide.width * height / wide.height), height))
    framed = Image.new("RGB", (wide.width + 2 * BORDER, height + 2 * BORDER), color)
    framed.paste(wide, (BORDER, BORDER))
    return framed


def draw_query(ranking: dict[str, Any], query: int, args: argparse.Namespace) -> Image.Image:
    """One row of the picture."""
    right = ranking["positives"][query]
    strips, titles = [], []
    for place, (medium, score) in enumerate(ranking["top"][query][: args.videos], 1):
        color = RIGHT if medium == right else WRONG
        path = ranking["media"][medium]["path"]
        strips.append(strip(path, args.frames, args.height, color))
        titles.append(f"{place}. {ranking['media'][medium]['id']}  {score:.2f}")
    width = sum(s.width + GAP for s in strips) + GAP
    row = Image.new("RGB", (width, 2 * HEADER + strips[0].height + GAP), "white")
    pen = ImageDraw.Draw(row)
    pen.text((GAP, 3), f'"{ranking["texts"][query]}"', fill="black")
    left = GAP
    for picture, title in zip(strips, titles, strict=True):
        pen.text((left, HEADER + 2), title, fill=(90, 90, 90))
        row.paste(picture, (left, 2 * HEADER))
        left += picture.width + GAP
    return row


def main(argv: list[str] | None = None) -> None:
    """Draw the picture."""
    args = parse_args(argv)
    try:
        ranking = read_ranking(args.ranking)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    total = len(ranking["top"])
    chosen = np.linspace(0, total - 1, min(args.queries, total)).round().astype(int)
    rows = [draw_query(ranking, int(query), args) for query in chosen]
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.out)
    print(f"{len(rows)} queries in {args.out}")


if __name__ == "__main__":
    main()
