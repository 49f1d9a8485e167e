"""Draw text queries with their ranked videos from the ranking that a test has dumped.

    python tools/test.py CONFIG CHECKPOINT --cfg-options test_cfg.dump=ranking.json
    python tools/visualization/draw_rankings.py ranking.json queries.png

Below a query stand its videos from the best score to the worst, each as a strip of frames, the
right one in a green border; where it is not among them it follows with its rank.
``queries.html`` is the same as a page.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms import LoadVideo
from uniadapter.utils.errors import one_message
from uniadapter.visualization.report import Entry, Panel, Report, png_path
from uniadapter.visualization.strips import sized, strip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw queries with their ranked videos.")
    parser.add_argument("ranking", help="file that test_cfg.dump has written")
    parser.add_argument("out", help="picture to write (.png); the page stands beside it (.html)")
    parser.add_argument("--queries", "--num", type=int, default=5, help="spread over the split")
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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no ranking: it is no JSON ({error}).") from error
    keys = {"texts", "media", "positives", "top"}
    if not isinstance(content, dict) or not keys <= set(content) or not content["texts"]:
        raise ValueError(f"{path} is no ranking: the keys {sorted(keys)} are expected, not empty.")
    return content


def frames_of(path: str, args: argparse.Namespace) -> tuple[Image.Image, str]:
    """Frames of a video side by side, and what is wrong with it."""
    try:
        pictures = LoadVideo(num_frames=args.frames).transform({"media_path": path})["frames"]
    except MediaError as error:
        print(f"cannot be shown: {error}", file=sys.stderr)
        return Image.new("RGB", (4 * args.height, args.height), (120, 120, 120)), "not readable"
    return strip([sized(picture, args.height) for picture in pictures]), ""


def place_of(ranking: dict[str, Any], query: int) -> str:
    """The rank of the right video in words."""
    if "ranks" in ranking:
        return f"rank {ranking['ranks'][query]}"
    listed = [medium for medium, _ in ranking["top"][query]]
    right = ranking["positives"][query]
    if right in listed:
        return f"rank {listed.index(right) + 1}"
    return f"not among the best {len(listed)}"


def draw_query(ranking: dict[str, Any], query: int, args: argparse.Namespace) -> Entry:
    """A query with its videos."""
    right, panels = ranking["positives"][query], []
    listed = ranking["top"][query][: args.videos]
    for place, (medium, score) in enumerate(listed, 1):
        picture, wrong = frames_of(ranking["media"][medium]["path"], args)
        title = " ".join([f"{place}. {ranking['media'][medium]['id']}  {score:.2f}", wrong])
        panels.append(Panel(picture, title, medium == right))
    place = place_of(ranking, query)
    if right not in [medium for medium, _ in listed]:
        picture, wrong = frames_of(ranking["media"][right]["path"], args)
        panels.append(
            Panel(picture, f"right: {ranking['media'][right]['id']}, {place} {wrong}", True)
        )
    lines = [f"right video: {ranking['media'][right]['id']}, {place} of {len(ranking['media'])}"]
    return Entry(f'Query {query}: "{ranking["texts"][query]}"', lines, panels)


def main(argv: list[str] | None = None) -> None:
    """Draw the picture and the page."""
    args = parse_args(argv)
    with one_message(any_origin=True):
        png_path(args.out)
        for name in ("queries", "videos", "frames"):
            if getattr(args, name) < 1:
                raise ValueError(f"--{name} {getattr(args, name)}: at least one is shown.")
        if args.height < 8:
            raise ValueError(f"--height {args.height}: at least 8 pixels.")
        ranking = read_ranking(args.ranking)
        total = len(ranking["top"])
        chosen = np.linspace(0, total - 1, min(args.queries, total)).round().astype(int).tolist()
        entries = [draw_query(ranking, query, args) for query in chosen]
        about = f"{args.ranking}: {total} queries, {len(ranking['media'])} videos"
        report = Report("Retrieved videos", [about], entries)
        page = report.save(args.out)
    print(f"{len(entries)} queries in {args.out} and {page}")


if __name__ == "__main__":
    main()
