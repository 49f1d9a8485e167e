"""The command line of the tools that extract features, and the engines that run them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from uniadapter.datasets.feature_stores import STORES
from uniadapter.utils.arguments import any_processes, natural, processes, seed_number, side
from uniadapter.utils.devices import check_device, device_of
from uniadapter.utils.json_files import parse_json

from .extractor import ClipExtractor
from .options import (
    MANIFEST,
    RANDOM,
    ExtractionOptions,
    check_manifest,
    find_media,
    make_units,
)


def parser_of(
    description: str | None, what: str, arch: str, kind: str, shard_size: int
) -> argparse.ArgumentParser:
    """Return the parser of a tool.

    Args:
        description: Of the tool.
        what: ``'grids'`` or ``'frames'``.
        arch: Default of ``--arch``.
        kind: Default of ``--format``.
        shard_size: Default of ``--shard-size``.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    media = {"grids": "pictures", "frames": "videos"}[what]
    parser.add_argument("media", help=f"folder of {media}; folders in it are searched too")
    parser.add_argument("out", help="folder to write to")
    parser.add_argument(
        "--weights", required=True, help=f"CLIP's published file, or '{RANDOM}' to try things out"
    )
    parser.add_argument("--arch", default=arch, help=f"of the network, or JSON (default: {arch})")
    parser.add_argument("--format", choices=list(STORES), default=kind, help=f"default: {kind}")
    parser.add_argument("--size", type=side, default=224, help="side in pixels (default: 224)")
    parser.add_argument("--batch-size", type=side, default=64, help="that the network sees at once")
    parser.add_argument(
        "--workers", type=any_processes, default=2, help="processes that decode, of each"
    )
    parser.add_argument(
        "--shard-size",
        type=natural,
        default=shard_size,
        help=f"{media} of a piece of work or a shard",
    )
    parser.add_argument("--device", help="default: the GPU of the process, or the CPU")
    parser.add_argument("--seed", type=seed_number, default=0, help="of random weights")
    parser.add_argument("--ray", type=processes, help="run by so many actors of Ray Data")
    parser.set_defaults(what=what, period=1.5, embed_dim=512)
    return parser


def options_of(args: argparse.Namespace, parser: argparse.ArgumentParser) -> ExtractionOptions:
    """Check a command line, which ends the program where it is wrong."""
    arch: Any = args.arch
    if arch.lstrip().startswith("{"):
        try:
            arch = parse_json(arch)
        except ValueError as error:
            parser.error(f"--arch is no JSON: {error}")
    return ExtractionOptions(
        what=args.what,
        out=args.out,
        kind=args.format,
        weights=args.weights,
        arch=arch,
        size=args.size,
        period=args.period,
        embed_dim=args.embed_dim,
        batch_size=args.batch_size,
        workers=args.workers,
        device=args.device or own_device(),
        seed=args.seed,
    )


def own_device() -> str:
    """The GPU of this process among those of torchrun, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def run(args: argparse.Namespace, options: ExtractionOptions) -> int:
    """Extract, print what became of it, and return the exit status.

    Args:
        args: The command line.
        options: What :func:`options_of` made of it.

    Returns:
        0 when all features are there, 1 when a file couldn't be read.
    """
    rank, world = (int(os.environ.get(name, d)) for name, d in (("RANK", "0"), ("WORLD_SIZE", "1")))
    try:
        # Of Ray's actors, other machines may have it.
        (check_device if args.ray is None else device_of)(options.device)
        media = find_media(args.media, options.what)
        # Where nothing is yet, weights that can't be read leave no word of how it was made.
        begins = args.ray is None and not (Path(options.out) / MANIFEST).is_file()
        # Facts are asked first, for their word on weights that are not there.
        extractor = ClipExtractor(options) if begins and options.facts() else None
        check_manifest(options, list(media), args.shard_size)
        units = make_units(media, args.shard_size)
        if args.ray is not None:
            reports = by_ray(units, ClipExtractor, (options,), args.ray, _on_gpu(options))
        else:
            units = units[rank::world]
            reports = _by_hand(units, extractor or ClipExtractor(options))
        total = sum(len(json.loads(unit)["names"]) for unit in units)
        found = list(shown(reports, total, hidden=rank > 0))
    except (FileNotFoundError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    faults = [fault for report in found for fault in report["faults"]]
    there = sum(report["there"] for report in found)
    name = f"rank {rank} of {world}: " if world > 1 else ""
    print(
        f"{name}{total} files: {total - there - len(faults)} extracted, {there} there already, "
        f"{len(faults)} faults"
    )
    for fault in faults:
        print(f"  {fault}")
    return int(bool(faults))


def _by_hand(units: list[str], extractor: ClipExtractor) -> Iterator[str]:
    for unit in units:
        yield from extractor({"unit": [unit]})["report"]


def _on_gpu(options: ExtractionOptions) -> bool:
    return options.device.startswith("cuda")


def by_ray(
    units: list[str], extractor: type, arguments: tuple, actors: int, gpu: bool
) -> Iterator[str]:
    """Do pieces of work by actors of Ray Data.

    Args:
        units: The pieces.
        extractor: Does them; a class whose objects turn ``unit`` of a batch into ``report``.
        arguments: Of its constructor; they can be pickled.
        actors: How many there are.
        gpu: Whether each has a GPU of its own.

    Yields:
        The report of each piece, as it is done.

    Raises:
        ImportError: If Ray Data is not installed.
    """
    try:
        ray = import_module("ray.data")
    except ImportError as error:
        raise ImportError(
            f"--ray needs Ray Data, which can't be imported ({error}): pip install 'ray[data]', or "
            "run the tool with torchrun."
        ) from error
    done = ray.from_items([{"unit": unit} for unit in units]).map_batches(
        extractor,
        fn_constructor_args=arguments,
        batch_size=1,
        concurrency=actors,
        num_gpus=1 if gpu else None,
    )
    for row in done.iter_rows():
        yield row["report"]


def shown(
    reports: Iterable[str], total: int, hidden: bool, pieces: bool = False
) -> Iterator[dict[str, Any]]:
    """Reports as they come in, under a bar of progress.

    Args:
        reports: Objects of JSON, of which ``media`` is how many files are done.
        total: How many files there are.
        hidden: Whether there is no bar.
        pieces: Whether it is reports that are counted, and not files.
    """
    columns = (TextColumn("features:"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Drawn from here alone: a thread that draws may hold a lock when a process is forked.
    with Progress(*columns, auto_refresh=False, disable=hidden) as bar:
        line = bar.add_task("", total=total)
        for text in reports:
            report = json.loads(str(text))
            bar.update(line, advance=1 if pieces else report["media"], refresh=True)
            yield report
