"""Open a page that searches an index and plays what it finds.

    uniadapter serve --index ~/Videos

The page is at http://127.0.0.1:8080/, for this machine alone unless --host says otherwise, and
needs the extra `search`. An index that is updated meanwhile is searched as it is then.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any

from uniadapter.search.page.options import EXAMPLES, PageOptions
from uniadapter.search.sources import open_searcher
from uniadapter.utils.arguments import MOST_PORT, natural, whole
from uniadapter.utils.extras import import_extra

from ..searching import add_model_options, explained

_MEGABYTE = 2**20


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="uniadapter serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--index", default=".", help="the index, or the folder it is of (.)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port", type=whole(0, MOST_PORT), default=8080, help="port, 0 for any free one (8080)"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that browsers may call this server by, beside its address; * for any",
    )
    parser.add_argument(
        "--example",
        action="append",
        default=[],
        metavar="TEXT",
        help="a sentence that the empty page offers; may be given several times",
    )
    parser.add_argument(
        "--max-upload", type=natural, default=64, help="megabytes of an upload (64)"
    )
    parser.add_argument("--max-topk", type=natural, default=100, help="most results (100)")
    parser.add_argument(
        "--queue", type=natural, default=128, help="searches that may wait for the model (128)"
    )
    parser.add_argument(
        "--preview-cache", type=natural, default=2048, help="megabytes of previews kept (2048)"
    )
    add_model_options(parser)
    return parser.parse_args(argv)


def _serving() -> Any:
    """The module that serves, whose packages not every installation has."""
    for name in ("fastapi", "uvicorn", "python_multipart"):
        try:
            import_extra(name, "search", "uniadapter serve")
        except ImportError as error:
            sys.exit(f"error: {error}")
    return import_module("uniadapter.search.page.serving")


def main(argv: list[str]) -> None:
    """Serve until Ctrl-C."""
    args = parse_args(argv)
    with explained():
        options = PageOptions(
            host=args.host,
            allowed_hosts=tuple(args.allow_host),
            max_upload=args.max_upload * _MEGABYTE,
            max_topk=args.max_topk,
            queue=args.queue,
            cache_bytes=args.preview_cache * _MEGABYTE,
            examples=tuple(args.example) or EXAMPLES,
        )
        _serving().serve(
            lambda: open_searcher(args.index, args.model, args.checkpoint, args.device),
            options,
            args.port,
            lambda text: print(text, file=sys.stderr, flush=True),
        )
