"""Search an index of videos and pictures by a text, a picture or a video.

    uniadapter search "a dog runs over a meadow" --index ~/Videos
    uniadapter search --image dog.jpg --index ~/Videos --topk 5 --json

The index remembers its model. `uniadapter index FOLDER` makes one.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from uniadapter.search.hits import Hit, SearchResult
from uniadapter.search.searcher import KINDS, SHORTLIST
from uniadapter.search.sources import open_searcher
from uniadapter.utils.arguments import natural, whole

from ..searching import add_model_options, explained, shown


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="uniadapter search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("text", nargs="?", help="what is to be seen")
    parser.add_argument("--image", metavar="FILE", help="a picture instead of a text")
    parser.add_argument("--video", metavar="FILE", help="a video instead of a text")
    parser.add_argument("--index", default=".", help="the index, or the folder it is of (.)")
    parser.add_argument("--topk", type=natural, default=10, help="most results (10)")
    parser.add_argument(
        "--shortlist", type=whole(0), help=f"shots that are re-ranked, 0 for none ({SHORTLIST})"
    )
    parser.add_argument("--folder", help="only in this folder below the indexed one")
    parser.add_argument("--kind", choices=KINDS, help="only these")
    parser.add_argument("--per-file", action="store_true", help="the best shot of each file only")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_model_options(parser)
    return parser.parse_args(argv)


def clock(seconds: float) -> str:
    """A time as a player shows it, to a tenth of a second."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{rest // 10:02d}.{rest % 10}"


def _row(rank: int, hit: Hit) -> tuple[str, ...]:
    shot = "-" if hit.kind == "image" else f"{clock(hit.start)}-{clock(hit.end)}"
    best = "-" if hit.kind == "image" else clock(hit.best_moment)
    return str(rank), f"{hit.score:.4f}", f"{hit.similarity:.4f}", shot, best, shown(hit.path)


def lines_of(result: SearchResult) -> list[str]:
    """Hits in columns, and how they were found."""
    rows: list[tuple[str, ...]] = [("rank", "score", "similarity", "shot", "best moment", "path")]
    rows += [_row(rank, hit) for rank, hit in enumerate(result.hits, 1)]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows]
    if not result.hits:
        lines = ["Nothing was found."]
    spent = ", ".join(f"{name} {1000 * one:.0f} ms" for name, one in result.seconds.items())
    how = f"{result.reranked} re-ranked by matching" if result.reranked else "by similarity alone"
    lines.append(f"{result.searched} shots searched, {how} ({spent})")
    return lines


def main(argv: list[str]) -> int:
    """Search as the arguments say; the status is 1 where nothing is found."""
    args = parse_args(argv)
    with explained():
        searcher = open_searcher(args.index, args.model, args.checkpoint, args.device)
        result = searcher.search(
            args.text,
            args.image,
            args.video,
            args.topk,
            args.shortlist,
            args.folder,
            args.kind,
            args.per_file,
        )
    # Names need not be text: JSON writes what is none as \udcXX.
    print(json.dumps(asdict(result)) if args.json else "\n".join(lines_of(result)))
    return 0 if result.hits else 1
