"""Index a folder of videos and pictures, or bring its index up to date.

    uniadapter index ~/Videos --model uniadapter_msrvtt_r512 --checkpoint my_adapter/
    uniadapter index ~/Videos
    uniadapter index ~/Videos --from-parquet encoded

What is new is read, what is gone is dropped, what was only moved or renamed is not encoded again.
It may be stopped at any moment, and goes on where it was. `uniadapter search` searches it.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from uniadapter.search.check import check_index
from uniadapter.search.engine import SearchEngine
from uniadapter.search.from_parquet import corpus_facts, index_from_parquet
from uniadapter.search.index import DEFAULT_NAME, SearchIndex
from uniadapter.search.records import WORDS, described
from uniadapter.search.sources import chosen_source, engine_of
from uniadapter.search.update import ON_ERROR, UpdateOptions, UpdateSummary, update_index
from uniadapter.utils.json_files import differences

from ..searching import BATCH_SIZE, add_encoding_options, explained, reading_of, shown

_WORKERS = min(4, os.cpu_count() or 1)


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="uniadapter index",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", help="folder of videos and pictures, also below it")
    parser.add_argument("--index", help=f"folder of the index (FOLDER/{DEFAULT_NAME})")
    add_encoding_options(parser, _WORKERS)
    parser.add_argument(
        "--on-error", choices=ON_ERROR, default="skip", help="a file that can't be read (skip)"
    )
    parser.add_argument("--retry", action="store_true", help="read again what could not be read")
    parser.add_argument("--compact", action="store_true", help="give the space of dead rows back")
    parser.add_argument("--rebuild", action="store_true", help="make the index anew")
    parser.add_argument(
        "--from-parquet",
        metavar="DIR",
        help="make it of what `uniadapter encode` wrote there, and encode nothing",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="read all of the index, see that the disk has it as it was written, and do nothing",
    )
    return parser.parse_args(argv)


def prepare(args: argparse.Namespace) -> tuple[SearchIndex, SearchEngine]:
    """The index of the arguments, made where there is none, and its engine.

    Raises:
        FileNotFoundError: If the folder or the model does not exist.
        OSError: If the index can't be written to.
        ValueError: If the index is of something else, or an option is wrong.
    """
    root = Path(args.folder)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise FileNotFoundError(f"The folder {root} {what}: name one of videos and pictures.")
    place = root / DEFAULT_NAME if args.index is None else Path(args.index)
    known = _known(place, args.rebuild)
    former = {} if known is None else known.settings.source
    source = chosen_source(former, args.model, args.checkpoint, args.cfg_options)
    if not source:
        raise ValueError("A new index needs a model: --model NAME, or a config.")
    if args.no_tokens:
        source["tokens"] = False
    reading = reading_of(args, None if known is None else known.settings.reading)
    engine = engine_of(source, args.device)
    if known is None or args.rebuild:
        try:
            return SearchIndex.create(place, engine, reading, root, source), engine
        except OSError as error:
            if isinstance(error, BlockingIOError):
                raise
            reason = getattr(error.__cause__ or error, "strerror", None) or error
            raise OSError(
                error.errno, f"The index {place} can't be written to ({reason}): name --index DIR."
            ) from error
    known.check(engine, described_as(source))
    differ = differences(asdict(known.settings.reading), asdict(reading), WORDS)
    if differ:
        raise ValueError(
            f"The index {place} was made with another {', '.join(differ)}: leave that out, or make "
            "it anew with --rebuild."
        )
    former = known.settings.source
    known.remember(root, source)
    if known.settings.source != former:
        print(f"{shown(str(place))}: its model, with the same features, is now {described(source)}")
    return known, engine


def from_parquet(args: argparse.Namespace) -> str:
    """Make an index of an encoded corpus, and say what there is.

    Raises:
        FileNotFoundError: If the folder, the corpus or the model does not exist.
        OSError: If the index can't be written to.
        ValueError: If there is an index, an option is of something else, or the corpus is damaged,
            incomplete or of another model.
    """
    facts, root = corpus_facts(args.from_parquet), Path(args.folder)
    place = root / DEFAULT_NAME if args.index is None else Path(args.index)
    for name in ("shot_seconds", "frames"):
        if getattr(args, name) is not None:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} belongs to `uniadapter encode`, which cut the shots.")
    for name, given in (
        ("retry", args.retry),
        ("compact", args.compact),
        ("on-error", args.on_error != "skip"),
        ("workers", args.workers is not None),
        ("batch-size", args.batch_size is not None),
    ):
        if given:
            raise ValueError(f"--{name} is of an update, and --from-parquet reads no media.")
    if args.no_tokens:
        raise ValueError("--no-tokens belongs to `uniadapter encode`, which kept tokens or not.")
    if not root.is_dir():
        raise FileNotFoundError(f"The folder {root} does not exist: name that of the media.")
    known = _known(place, args.rebuild)
    if known is not None and known.shots() and not args.rebuild:
        raise ValueError(f"{place}: there is an index already; --rebuild makes it anew.")
    source = chosen_source(facts["source"], args.model, args.checkpoint, args.cfg_options)
    engine = engine_of(source, args.device)
    index = index_from_parquet(args.from_parquet, place, engine, root, source)
    files, shots = len(index.files()), len(index.shots())
    gone = sum(file.gone for file in index.files(everything=True))
    said = f"{shown(str(index.folder))}: {files} files, {shots} shots; nothing was encoded"
    if gone:
        said += (
            f"\n{gone} files of the corpus are not there any more or were changed since: "
            "`uniadapter index` reads what is there now"
        )
    return said


def check(args: argparse.Namespace) -> str:
    """Look for damage in an index, and say how much was looked at.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, or another option is given.
    """
    plain = vars(parse_args([args.folder]))
    others = [name for name, value in vars(args).items() if value != plain[name]]
    unread = sorted({*others} - {"check", "index"})
    if unread:
        option = unread[0].replace("_", "-")
        raise ValueError(f"--{option} is of an update, and --check only reads the index.")
    place = Path(args.folder) / DEFAULT_NAME if args.index is None else Path(args.index)
    index = SearchIndex.open(place)
    found = check_index(index)
    said = f"{shown(str(index.folder))}: {found.shots} shots are as they were written"
    if found.unknown:
        said += f"; {found.unknown} more have no checksum, as an earlier version wrote them"
    return said


def described_as(source: dict) -> str:
    """A model in words."""
    weights = "" if source["checkpoint"] is None else f" with {source['checkpoint']}"
    return f"{source['model']}{weights}"


def _known(place: Path, rebuild: bool) -> SearchIndex | None:
    """The index that is there; None without, and of one that is to be made anew as it is broken."""
    try:
        return SearchIndex.open(place)
    except FileNotFoundError:
        return None
    except ValueError:
        if not rebuild:
            raise
        return None


def lines_of(summary: UpdateSummary, index: SearchIndex) -> list[str]:
    """What an update did, in words."""
    kinds = ("new", "changed", "moved", "copied", "touched", "deleted", "unchanged")
    counts = ", ".join(f"{getattr(summary, kind)} {kind}" for kind in kinds)
    lines = [f"{name}: can't be looked into: {why}" for name, why in summary.unlisted.items()]
    lines += [f"{name}: can't be read: {why}" for name, why in summary.unreadable.items()]
    lines = [shown(line) for line in lines]
    lines.append(f"{counts}, {len(summary.unreadable)} unreadable files")
    done = f"{summary.encoded} shots were encoded" if summary.encoded else "nothing was encoded"
    if summary.compacted:
        done += "; dead rows were dropped"
    lines.append(f"{done}, in {summary.seconds:.1f} s")
    size = f"{summary.size / 2**20:.1f} MiB"
    lines.append(
        f"{shown(str(index.folder))}: {summary.files} files, {summary.shots} shots, {size}"
    )
    return lines


def main(argv: list[str]) -> int:
    """Index as the arguments say; the status is 130 where it was interrupted."""
    args = parse_args(argv)
    columns = (TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if args.check or args.from_parquet is not None:
        with explained():
            said = check(args) if args.check else from_parquet(args)
        print(said)
        return 0
    with explained():
        workers = _WORKERS if args.workers is None else args.workers
        options = UpdateOptions(
            workers, args.batch_size or BATCH_SIZE, args.on_error, args.retry, args.compact
        )
        index, engine = prepare(args)
        # Drawn from here alone: a thread that draws may hold a lock when a process is forked.
        console = Console(stderr=True)
        with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
            line = bar.add_task("", total=None)

            def show(done: int, total: int) -> None:
                bar.update(line, completed=done, total=total, refresh=True)

            try:
                summary = update_index(index, engine, options, show)
            except KeyboardInterrupt:
                print("Stopped; called again it goes on from here.")
                return 130
    print("\n".join(lines_of(summary, index)))
    return 0
