"""Draw pictures with the box that an expression means and the boxes that the model predicts.

    python tools/visualization/draw_boxes.py CONFIG CHECKPOINT boxes.png

Examples are spread over the test split. The annotated box is green, the prediction red, further
ones (``--boxes``) thin; a picture whose first box is right stands in a green border. ``boxes.html``
is the same as a page.
"""

from __future__ import annotations

import argparse
import sys

import torch

from uniadapter.apis.examples import Example, Examples, open_examples
from uniadapter.apis.pictures import boxes_entry
from uniadapter.models.tasks import GroundingModel
from uniadapter.utils.arguments import natural, side
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.errors import one_message
from uniadapter.visualization.report import Entry, Report, png_path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw boxes that expressions mean.")
    parser.add_argument("config", help="config of a model that grounds expressions")
    parser.add_argument("checkpoint", help="checkpoint or folder of an exported adapter")
    parser.add_argument("out", help="picture to write (.png); the page stands beside it (.html)")
    parser.add_argument("--num", type=natural, default=8, help="expressions, spread over the split")
    parser.add_argument("--boxes", type=natural, default=1, help="predictions drawn of each")
    parser.add_argument("--height", type=side, default=240, help="height of a picture in pixels")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions, help="key=value overrides")
    return parser.parse_args(argv)


def entry_of(item: Example, args: argparse.Namespace) -> Entry:
    """An expression with its picture, target and predictions."""
    boxes, scores = item.sample.pred_boxes, item.sample.pred_scores
    return boxes_entry(item.sample, boxes[: args.boxes], scores, item.frames[0], args.height)


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


@one_message()
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
