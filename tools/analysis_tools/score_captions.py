"""Score a file of generated captions against a COCO ground truth, with one tokenizer or both."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from uniadapter.datasets.readers import require_id, require_text
from uniadapter.evaluation.functional import score_captions
from uniadapter.evaluation.functional.caption_scores import PYTHON_SCORES
from uniadapter.evaluation.metrics.caption import load_coco_captions
from uniadapter.utils.errors import one_message
from uniadapter.utils.json_files import brief, parse_json


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ann_file", help="COCO caption ground truth (.json)")
    parser.add_argument("results_file", help="list of image_id and caption (.json)")
    parser.add_argument(
        "--tokenizer",
        nargs="+",
        choices=("python", "java"),
        default=["python"],
        help="one, or both to compare them; java needs a Java runtime",
    )
    parser.add_argument(
        "--scores", nargs="+", default=list(PYTHON_SCORES), help="also METEOR and SPICE, with Java"
    )
    return parser.parse_args(argv)


def load_results(results_file: str) -> dict[int | str, str]:
    """Read generated captions.

    Args:
        results_file: JSON list of ``image_id`` and ``caption``.

    Returns:
        Image id to caption.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is no such list, or an image has two captions.
    """
    path = Path(results_file)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        rows = parse_json(path.read_bytes())
        if not isinstance(rows, list):
            raise ValueError(f"it holds {brief(rows)}")
        pairs = [
            (require_id(row, "image_id", f"entry {n}"), require_text(row, "caption", f"entry {n}"))
            for n, row in enumerate(rows)
        ]
    except ValueError as error:
        raise ValueError(f"{path} is no JSON list of image_id and caption: {error}") from error
    captions = dict(pairs)
    if len(captions) != len(pairs):
        raise ValueError(f"{path} has several captions of one image; one an image is scored")
    return captions


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Print a table: a row a score, a column a tokenizer."""
    args = parse_args(argv)
    try:
        references = load_coco_captions(args.ann_file)
        predictions = load_results(args.results_file)
        if not predictions:
            raise ValueError(f"{args.results_file} has no captions to score")
        unknown = [image for image in predictions if image not in references]
        if unknown:
            raise ValueError(f"{args.ann_file} has no captions of image {unknown[0]!r}")
        kept = {image: references[image] for image in predictions}
        columns = [
            score_captions(kept, predictions, args.scores, tokenizer)
            for tokenizer in args.tokenizer
        ]
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{len(predictions)} of {len(references)} images")
    print(f"{'score':10s}" + "".join(f"{tokenizer:>10s}" for tokenizer in args.tokenizer))
    for name in columns[0]:
        print(f"{name:10s}" + "".join(f"{column[name]:10.3f}" for column in columns))


if __name__ == "__main__":
    main()
