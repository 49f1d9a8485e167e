"""Write pictures of what a dataset feeds to the model: frames side by side over their captions.

``--mode original`` shows the frames as decoded, ``transformed`` as the pipeline leaves them, and
``pipeline`` one row after every step that changes them.
"""

from __future__ import annotations

import argparse
import random
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import init_default_scope
from mmengine.utils import ProgressBar
from PIL import Image, ImageDraw

from uniadapter.datasets import BaseMediaDataset, MediaError
from uniadapter.datasets.transforms import PackInputs
from uniadapter.registry import DATASETS, scope_of
from uniadapter.utils.arguments import natural, seed_number, side
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import dataset_config, load_config
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_file

MODES = ("original", "transformed", "pipeline")
LINE = 12
Row = tuple[str, np.ndarray]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="path of the config")
    parser.add_argument("-o", "--output-dir", required=True, help="folder for the pictures")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train")
    parser.add_argument("--number", type=natural, default=10, help="pictures to write")
    parser.add_argument("--mode", choices=MODES, default="transformed")
    parser.add_argument("--height", type=side, default=128, help="height of a frame in the picture")
    parser.add_argument("--shuffle", action="store_true", help="draw the items at random")
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="seed of the draw and the transforms"
    )
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions, help="key=value overrides")
    return parser.parse_args(argv)


def run_pipeline(dataset: BaseMediaDataset, index: int, mode: str) -> tuple[list[Row], dict]:
    """Run the pipeline step by step.

    Returns:
        Rows of (name of the step, frames (N, H, W, 3) uint8) and the results before packing.
    """
    results: dict[str, Any] = dataset.get_data_info(index)
    rows: list[Row] = []
    for step in dataset.pipeline.transforms:
        if isinstance(step, PackInputs):
            break
        before = results.get("frames")
        results = step(results)
        if results.get("frames") is not before:
            rows.append((type(step).__name__, results["frames"]))
    if not rows:
        raise ValueError("The pipeline loads no frames; it needs a LoadVideo.")
    picked = {"original": rows[:1], "transformed": rows[-1:], "pipeline": rows}
    return picked[mode], results


def draw_sheet(rows: list[Row], lines: list[str], height: int) -> Image.Image:
    """Draw rows of frames, each under its label, over lines of text."""
    strips = []
    for label, frames in rows:
        width = max(1, round(height * frames.shape[2] / frames.shape[1]))
        images = [Image.fromarray(frame).resize((width, height)) for frame in frames]
        strips.append((f"{label} {frames.shape[2]}x{frames.shape[1]}", width, images))
    full_width = max(width * len(images) + 2 * (len(images) - 1) for _, width, images in strips)
    full_width = max(full_width, 240)
    wrapped = [part for line in lines for part in textwrap.wrap(line, full_width // 6) or [""]]
    full_height = len(strips) * (height + LINE + 4) + LINE * len(wrapped) + 6
    sheet = Image.new("RGB", (full_width, full_height), "white")
    canvas = ImageDraw.Draw(sheet)
    top = 0
    for label, width, images in strips:
        canvas.text((2, top), label, fill="gray")
        for column, image in enumerate(images):
            sheet.paste(image, (column * (width + 2), top + LINE + 2))
        top += height + LINE + 4
    for part in wrapped:
        # The built-in font has Latin letters only; others are shown as their escapes.
        canvas.text((2, top), part.encode("latin-1", "backslashreplace").decode("latin-1"), "black")
        top += LINE
    return sheet


def load_dataset(args: argparse.Namespace) -> BaseMediaDataset:
    """Build the dataset of the wanted split."""
    config = load_config(args.config, args.cfg_options)
    init_default_scope(scope_of(config))
    dataset = DATASETS.build(dataset_config(config, args.split, args.config))
    if not isinstance(dataset, BaseMediaDataset):
        raise ValueError(f"{type(dataset).__name__}: it names no media to browse.")
    return dataset


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Write the pictures."""
    args = parse_args(argv)
    try:
        dataset = load_dataset(args)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    random.seed(args.seed)
    np.random.seed(args.seed)
    indices = list(range(len(dataset)))
    if args.shuffle:
        random.shuffle(indices)
    indices = indices[: args.number]
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    bar = ProgressBar(len(indices))
    written, unreadable = 0, []
    for index in indices:
        try:
            rows, results = run_pipeline(dataset, index, args.mode)
        except MediaError as error:
            unreadable.append(str(error))
        else:
            texts = results.get("texts") or results.get("gt_captions") or [results["text"]]
            texts = [*texts, *results.get("answers", results.get("gt_answers", []))]
            lines = [f"{index}: {results['video_id']}", *(f"- {text}" for text in texts)]
            name = "".join(c if c.isalnum() or c in "-_" else "_" for c in results["video_id"])
            picture = folder / f"{args.split}_{index:06d}_{name}.png"
            with atomic_file(picture, sync=False) as file:
                draw_sheet(rows, lines, args.height).save(file, format="png")
            written += 1
        bar.update()
    print(f"\n{written} pictures written to {folder}")
    for line in unreadable:
        print(f"unreadable: {line}")


if __name__ == "__main__":
    main()
