"""Draw questions about videos or images with the model's answers beside the right ones.

    python tools/visualization/draw_answers.py CONFIG CHECKPOINT answers.png

Examples are spread over the split; the frames of a question that was answered rightly stand in a
green border. ``answers.html`` is the same as a page.
"""

from __future__ import annotations

import argparse
import sys

import torch

from uniadapter.apis.examples import Examples, open_examples
from uniadapter.apis.pictures import answer_entry
from uniadapter.models.tasks import VQAModel
from uniadapter.utils.arguments import natural, side
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.errors import one_message
from uniadapter.visualization.report import Report, png_path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw questions, targets and answers.")
    parser.add_argument("config", help="config of a model that answers questions")
    parser.add_argument("checkpoint", help="checkpoint or folder of an exported adapter")
    parser.add_argument("out", help="picture to write (.png); the page stands beside it (.html)")
    parser.add_argument(
        "--num", type=natural, default=6, help="questions, spread over the test split"
    )
    parser.add_argument("--height", type=side, default=72, help="height of a frame in pixels")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions, help="key=value overrides")
    return parser.parse_args(argv)


def draw(examples: Examples, args: argparse.Namespace) -> Report:
    """All examples as a report.

    Raises:
        ValueError: If the model answers no questions.
    """
    if not isinstance(examples.model, VQAModel):
        raise ValueError(
            f"{args.config} is of a {type(examples.model).__name__}, which answers no questions: "
            "name a config of a VQAModel, such as configs/uniadapter/msrvttqa_r512.py."
        )
    report = Report("Questions and answers", [f"{args.config}, {args.checkpoint}"])
    report.lines += [f"left out: {line}" for line in examples.unreadable]
    with torch.no_grad():
        for items, data in examples.batches():
            for item, sample in zip(items, examples.model.test_step(data), strict=True):
                entry = answer_entry(item.sample, sample.pred_answer, item.frames, args.height)
                report.entries.append(entry)
    return report


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Draw the picture and the page."""
    args = parse_args(argv)
    with one_message(any_origin=True):
        png_path(args.out)
        if args.height < 8:
            raise ValueError(f"--height {args.height}: at least 8 pixels.")
        examples = open_examples(
            args.config, args.checkpoint, args.num, "test", args.device, args.cfg_options
        )
        page = draw(examples, args).save(args.out)
    for line in examples.unreadable:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{len(examples.items)} questions in {args.out} and {page}")


if __name__ == "__main__":
    main()
