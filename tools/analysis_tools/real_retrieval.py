"""Image-text retrieval of real pictures on towers that others trained, every row and split.

    python tools/analysis_tools/real_retrieval.py --data data/real --splits 5

needs the pictures (tools/dataset_converters/prepare_real_pictures.py) and the weights
(tools/model_converters/join_minilm_lite0.py); docs/real_weights.md says how to get both. Every run
is written to RESULTS/<collection>.json when it is done, and is not run again: an interrupted call
goes on where it stopped. A row's learning rate is chosen among three on the validation set, trained
on the first split; that set is in no split's training or test set. At the end the tables of the
page are written between its marks (--page).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT)]

from real_bench.pictures import load_collection  # noqa: E402
from real_bench.study import CLOSED, ROWS, Study, made_of  # noqa: E402
from real_bench.tables import write_page  # noqa: E402

from uniadapter.utils.arguments import natural, processes  # noqa: E402
from uniadapter.utils.errors import one_message  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="data/real", help="folder with the collections")
    parser.add_argument("--only", nargs="+", default=["stamps"], help="collections in it")
    parser.add_argument("--rows", nargs="+", choices=[*CLOSED, *ROWS], help="default: all")
    parser.add_argument("--splits", type=natural, default=5, help="run the first so many")
    parser.add_argument("--weights", default="checkpoints/minilm_lite0.safetensors")
    parser.add_argument("--results", default="configs/real/results", help="folder of results")
    parser.add_argument("--cache", default="work_dirs/real", help="folder of frozen states")
    parser.add_argument("--page", default="docs/real_weights.md", help="page of the tables")
    parser.add_argument(
        "--classes", action="store_true", help="also say how well the frozen classifier does"
    )
    parser.add_argument("--threads", type=processes, default=1)
    return parser.parse_args(argv)


def imagenet_names() -> list[str]:
    """The names of ImageNet's classes, synonyms between commas."""
    # Imported here: it takes seconds, and only this needs it.
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    return list(IMAGENET_CATEGORIES)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet and write the tables."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = args.rows or [*CLOSED, *ROWS]
    results = Path(args.results)
    try:
        for name in args.only:
            pictures = load_collection(Path(args.data) / name)
            if args.splits > len(pictures.splits):
                raise ValueError(f"{name} has {len(pictures.splits)} splits, not {args.splits}.")
            cache = Path(args.cache) / f"{name}.pt"
            study = Study(pictures, Path(args.weights), results / f"{name}.json", cache)
            for row in rows:
                study.run(row, args.splits)
            if args.classes:
                right, of = study.recognised(imagenet_names())
                print(f"{name}: {right} of {of} pictures called by a class's name are seen as it")
        write_page(Path(args.page), results, {row: made_of(row) for row in [*CLOSED, *ROWS]})
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
