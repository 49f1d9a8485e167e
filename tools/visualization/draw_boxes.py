"""Draw pictures with the box that an expression means and the boxes that the model predicts.

    python tools/visualization/draw_boxes.py CONFIG CHECKPOINT boxes.png

Examples are spread over the test split. The annotated box is green, the prediction red, further
ones (``--boxes``) thin; a picture whose first box is right stands in a green border. ``boxes.html``
is the same as a page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw

from uniadapter.apis.examples import Example, Examples, open_examples
from uniadapter.models.tasks import GroundingModel
from uniadapter.utils.boxes import generalized_iou
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.errors import one_message
from uniadapter.visualization.report import Entry, Panel, Report, png_path
from uniadapter.visualization.strips import sized

TARGET, FOUND = (40, 200, 80), (230, 50, 40)
#: GIoU from which a box is right, as in the metric.
THRESHOLD = 0.5


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw boxes that expressions mean.")
    parser.add_argument("config", help="config of a model that grounds expressions")
    parser.add_argument("checkpoint", help="checkpoint or folder of an exported adapter")
    parser.add_argument("out", help="picture to write (.png); the page stands beside it (.html)")
    parser.add_argument("--num", type=int, default=8, help="expressions, spread over the split")
    parser.add_argument("--boxes", type=int, default=1, help="predictions drawn of each")
    parser.add_argument("--height", type=int, default=240, help="height of a picture in pixels")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions, help="key=value overrides")
    return parser.parse_args(argv)


def with_boxes(
    item: Example, found: Sequence[Sequence[float]], truth: Sequence[float], height: int
) -> Image.Image:
    """A picture with its boxes, given in the pixels of the original; the best one drawn last."""
    picture = sized(item.frames[0], height)
    across, down = picture.width / item.frames.shape[2], picture.height / item.frames.shape[1]
    pen = ImageDraw.Draw(picture)
    drawn = [(box, FOUND, 3 if rank == 0 else 1) for rank, box in enumerate(found)][::-1]
    for box, color, width in [(truth, TARGET, 3), *drawn]:
        left, top, right, bottom = box
        corners = [left * across, top * down, right * across, bottom * down]
        # Pillow refuses a box whose corners are exchanged.
        if corners[2] >= corners[0] and corners[3] >= corners[1]:
            pen.rectangle(corners, outline=color, width=width)
    return picture


def entry_of(item: Example, args: argparse.Namespace) -> Entry:
    """An expression with its picture, target and predictions."""
    sample = item.sample
    truth, boxes = list(sample.gt_box), list(sample.pred_boxes)
    overlap = float(generalized_iou(torch.tensor(boxes[0]), torch.tensor(truth)))
    words = [sample.text[begin:end] for begin, end in sample.tokens_positive]
    lines = [
        f"names the thing by: {', '.join(words)}",
        f"score {sample.pred_scores[0]:.2f}, GIoU {overlap:.2f}",
    ]
    picture = with_boxes(item, boxes[: args.boxes], truth, args.height)
    title = f"{sample.split} {sample.image_id}: {sample.text}"
    return Entry(title, lines, [Panel(picture, item.name, overlap >= THRESHOLD)])


def draw(examples: Examples, args: argparse.Namespace) -> Report:
    """All examples as a report.

    Raises:
        ValueError: If the model grounds no expressions.
    """
    if not isinstance(examples.model, GroundingModel):
        raise ValueError(
            f"{args.config} is of a {type(examples.model).__name__}, which predicts no boxes: name "
            "a config of a GroundingModel, such as configs/unipt/mdetr_refcoco.py."
        )
    report = Report("Boxes", [f"{args.config}, {args.checkpoint}", "green: annotated, red: found"])
    report.lines += [f"left out: {line}" for line in examples.unreadable]
    with torch.no_grad():
        for items, data in examples.batches():
            examples.model.test_step(data)
            report.entries += [entry_of(item, args) for item in items]
    return report


def main(argv: list[str] | None = None) -> None:
    """Draw the picture and the page."""
    args = parse_args(argv)
    with one_message(any_origin=True):
        png_path(args.out)
        for name, least in (("height", 8), ("boxes", 1)):
            if getattr(args, name) < least:
                raise ValueError(f"--{name} {getattr(args, name)}: at least {least}.")
        examples = open_examples(
            args.config, args.checkpoint, args.num, "test", args.device, args.cfg_options
        )
        page = draw(examples, args).save(args.out)
    for line in examples.unreadable:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{len(examples.items)} expressions in {args.out} and {page}")


if __name__ == "__main__":
    main()
