"""Measure the page of an index under load: many clients that search and watch at once.

    uniadapter serve --index ~/Videos &
    python tools/analysis_tools/benchmark_page.py http://127.0.0.1:8080 --clients 50

Each client does what a browser does: it searches for a sentence, asks for the small pictures of the
results and for the beginning of the first clip, and goes on with the next sentence. A reply other
than 200 or 206 is an error, and so is a result that is not complete. Shown are the median and the
95th percentile of the seconds until a reply was there in full, by what was asked for.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from uniadapter.utils.arguments import natural, positive, processes, seed_number, whole
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write

_WORDS = "a the red blue small dog car child bird runs turns left right over under street meadow"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", help="of the page, such as http://127.0.0.1:8080")
    parser.add_argument("--clients", type=processes, default=50, help="clients at once (50)")
    parser.add_argument("--searches", type=natural, default=4, help="searches of each client (4)")
    parser.add_argument("--topk", type=natural, default=12, help="results of a search (12)")
    parser.add_argument("--shortlist", type=whole(0), help="shots that are re-ranked, 0 for none")
    parser.add_argument("--texts", type=Path, help="sentences, one a line (default: drawn words)")
    parser.add_argument("--timeout", type=positive, default=300.0, help="seconds for a reply (300)")
    parser.add_argument("--seed", type=seed_number, default=0)
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    return parser.parse_args(argv)


class Log:
    """What all clients saw."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.errors: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(self, what: str, seconds: float, error: str | None) -> None:
        """Note one reply."""
        with self._lock:
            self.seconds[what].append(seconds)
            if error is not None:
                self.errors[f"{what}: {error}"] += 1

    def table(self) -> dict[str, dict[str, float]]:
        """Requests, median, 95th percentile and maximum by what was asked for."""
        rows = {}
        for what, found in sorted(self.seconds.items()):
            ordered = sorted(found)
            # The least number that 95 of 100 do not exceed.
            place = max(0, -(-95 * len(ordered) // 100) - 1)
            rows[what] = {
                "requests": len(ordered),
                "p50": statistics.median(ordered),
                "p95": ordered[place],
                "max": ordered[-1],
            }
        return rows


class Client(threading.Thread):
    """A browser that keeps its connection.

    Args:
        args: The command line.
        texts: What it searches for.
        log: Where it notes replies.
    """

    def __init__(self, args: argparse.Namespace, texts: list[str], log: Log) -> None:
        super().__init__(daemon=True)
        self.args, self.texts, self.log = args, texts, log
        place = urlsplit(args.address)
        self.connection = http.client.HTTPConnection(
            place.hostname or "127.0.0.1", place.port or 80, timeout=args.timeout
        )

    def run(self) -> None:
        """Search, look and watch."""
        for text in self.texts:
            query = {"text": text, "topk": self.args.topk}
            if self.args.shortlist is not None:
                query["shortlist"] = self.args.shortlist
            content = self.ask("search", f"/api/search?{urlencode(query)}")
            hits = json.loads(content)["hits"] if content else []
            for hit in hits:
                self.ask("small picture", hit["thumb"])
            if hits:
                self.ask("clip", hits[0]["play"]["url"], {"Range": "bytes=0-262143"})
        self.connection.close()

    def ask(self, what: str, address: str, headers: dict[str, str] | None = None) -> bytes:
        """Send a request and read its reply; empty where it failed."""
        began = time.perf_counter()
        error, content = None, b""
        try:
            self.connection.request("GET", address, headers=headers or {})
            reply = self.connection.getresponse()
            content = reply.read()
            if reply.status not in (200, 206):
                error, content = f"status {reply.status}: {content[:200]!r}", b""
        except (OSError, http.client.HTTPException) as failure:
            error = f"{type(failure).__name__}: {failure}"
            self.connection.close()
        self.log.note(what, time.perf_counter() - began, error)
        return content


def text_of(path: Path) -> str:
    """What stands in a file.

    Raises:
        ValueError: If it can't be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--texts {path} can't be read: {error}") from error


def draw_texts(args: argparse.Namespace) -> list[list[str]]:
    """What each client searches for."""
    rng = random.Random(args.seed)
    if args.texts is not None:
        lines = [line.strip() for line in text_of(args.texts).splitlines()]
        known = [line for line in lines if line]
        if not known:
            raise ValueError(f"{args.texts} has no sentence.")
        return [rng.choices(known, k=args.searches) for _ in range(args.clients)]
    words = _WORDS.split()
    return [
        [" ".join(rng.sample(words, 5)) for _ in range(args.searches)] for _ in range(args.clients)
    ]


def measure(args: argparse.Namespace) -> dict:
    """Run all clients to their end."""
    log = Log()
    clients = [Client(args, texts, log) for texts in draw_texts(args)]
    began = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    seconds = time.perf_counter() - began
    rows = log.table()
    total = sum(int(row["requests"]) for row in rows.values())
    return {
        "clients": args.clients,
        "searches": args.searches,
        "seconds": seconds,
        "requests_per_second": total / seconds,
        "replies": rows,
        "errors": dict(log.errors),
    }


@one_message()
def main(argv: list[str] | None = None) -> int:
    """Measure and print; the status is 1 where a request failed."""
    args = parse_args(argv)
    result = measure(args)
    print(f"{args.clients} clients, {result['requests_per_second']:.1f} requests a second")
    print(f"{'':14} {'requests':>8} {'p50 s':>8} {'p95 s':>8} {'max s':>8}")
    for what, row in result["replies"].items():
        numbers = " ".join(f"{row[name]:8.3f}" for name in ("p50", "p95", "max"))
        print(f"{what:14} {row['requests']:8d} {numbers}")
    for error, count in result["errors"].items():
        print(f"{count} x {error}", file=sys.stderr)
    print(f"errors: {sum(result['errors'].values())}")
    if args.out is not None:
        atomic_write(args.out, (json.dumps(result, indent=2) + "\n").encode())
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
