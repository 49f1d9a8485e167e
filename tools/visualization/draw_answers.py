"""Draw questions about videos or images with the model's answers beside the right ones.

    python tools/visualization/draw_answers.py CONFIG CHECKPOINT answers.png

Examples are spread over the split; the frames of a question that was answered rightly stand in a
green border. ``answers.html`` is the same as a page.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import torch

from uniadapter.apis.examples import Example, Examples, open_examples
from uniadapter.evaluation.functional import exact_match
from uniadapter.models.tasks import VQAModel
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.errors import one_message
from uniadapter.visualization.report import Entry, Panel, Report, png_path
from uniadapter.visualization.strips import sized, strip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw questions, targets and answers.")
    parser.add_argument("config", help="config of a model that answers questions")
    parser.add_argument("checkpoint", help="checkpoint or folder of an exported adapter")
    parser.add_argument("out", help="picture to write (.png); the page stands beside it (.html)")
    parser.add_argument("--num", type=int, default=6, help="questions, spread over the test split")
    parser.add_argument("--height", type=int, default=72, help="height of a frame in pixels")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions, help="key=value overrides")
    return parser.parse_args(argv)


def target_of(item: Example) -> str | None:
    """What most annotators answered; None where the split has no answers."""
    given = item.sample.get("gt_answers") or item.sample.get("answers")
    return Counter(given).most_common(1)[0][0] if given else None


def entry_of(item: Example, answer: str, height: int) -> Entry:
    """A question with its frames, target and answer."""
    target = target_of(item)
    right = None if target is None else exact_match(answer, target)
    given = dict.fromkeys(item.sample.get("gt_answers") or [])
    lines = [f"Target: {'not in this split' if target is None else target}", f"Answer: {answer}"]
    if len(given) > 1:
        lines[0] += f" (also given: {', '.join(a for a in given if a != target)})"
    title = f"Question {item.sample.get('question_id')}: {item.sample.get('question')}"
    frames = strip([sized(frame, height) for frame in item.frames])
    return Entry(title, lines, [Panel(frames, item.name, right)])


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
                report.entries.append(entry_of(item, sample.pred_answer, args.height))
    return report


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
