"""Draw text queries with their ranked videos from the ranking that a test has dumped.

    python tools/test.py CONFIG CHECKPOINT --cfg-options test_cfg.dump=ranking.json
    python tools/visualization/draw_rankings.py ranking.json queries.png

Below a query stand its videos from the best score to the worst, each as a strip of frames, the
right one in a green border; where it is not among them it follows with its rank.
``queries.html`` is the same as a page.
"""

from __future__ import annotations

import argparse

from uniadapter.apis.pictures import RankingPictures, ranking_report, read_ranking
from uniadapter.utils.arguments import natural, side
from uniadapter.utils.errors import one_message
from uniadapter.visualization.report import png_path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw queries with their ranked videos.")
    parser.add_argument("ranking", help="file that test_cfg.dump has written")
    parser.add_argument("out", help="picture to write (.png); the page stands beside it (.html)")
    parser.add_argument("--queries", "--num", type=natural, default=5, help="spread over the split")
    parser.add_argument("--videos", type=natural, default=4, help="videos of a query")
    parser.add_argument("--frames", type=side, default=6, help="frames of a video")
    parser.add_argument("--height", type=side, default=56, help="height of a frame in pixels")
    return parser.parse_args(argv)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Draw the picture and the page."""
    args = parse_args(argv)
    with one_message(any_origin=True):
        png_path(args.out)
        if args.height < 8:
            raise ValueError(f"--height {args.height}: at least 8 pixels.")
        options = RankingPictures(args.queries, args.videos, args.frames, args.height)
        report = ranking_report(read_ranking(args.ranking), args.ranking, options)
        page = report.save(args.out)
    print(f"{len(report.entries)} queries in {args.out} and {page}")


if __name__ == "__main__":
    main()
