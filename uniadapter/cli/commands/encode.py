"""Encode a corpus of videos and pictures to Parquet, by many processes or machines.

    uniadapter encode ~/Videos --out encoded --model uniadapter_msrvtt_r512 --checkpoint my_adapter/
    torchrun --nproc_per_node 8 -m uniadapter encode tars/ list.txt --out encoded --model ...
    uniadapter index ~/Videos --from-parquet encoded

A source is a folder, a WebDataset tar, a list of paths or URIs (.txt, one a line), or a URI. It may
be stopped at any moment, and goes on where it was, with as many processes as you like then.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

from uniadapter.apis.extraction.command import by_ray, own_device
from uniadapter.apis.extraction.command import shown as tracked
from uniadapter.search.corpus import CorpusEncoder, CorpusOptions, digest_of_units, own_rank
from uniadapter.search.corpus_items import find_units
from uniadapter.search.sources import engine_of, source_of, whole_path
from uniadapter.utils.arguments import natural, processes
from uniadapter.utils.cfg_options import CfgOptions

from ..searching import BATCH_SIZE, add_encoding_options, explained, reading_of, shown

_WORKERS = 2


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="uniadapter encode",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", nargs="+", help="folders, tars, lists of paths or URIs, URIs")
    parser.add_argument("--out", required=True, help="folder of the shards")
    add_encoding_options(parser, _WORKERS)
    parser.add_argument(
        "--backend-args",
        nargs="+",
        action=CfgOptions,
        metavar="KEY=VALUE",
        help="of MMEngine's fileio, such as backend=s3_boto3 endpoint_url=...; without, by the URI",
    )
    parser.add_argument("--shard-size", type=natural, default=64, help="files of a shard (64)")
    parser.add_argument("--ray", type=processes, metavar="N", help="run by N actors of Ray Data")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Encode as the arguments say; the status is 1 where files could not be read."""
    args = parse_args(argv)
    with explained():
        if args.model is None:
            raise ValueError("A corpus is encoded by a model: --model NAME, or a config.")
        reading = reading_of(args)
        units = find_units(args.sources, args.shard_size, reading.frame_rate is not None)
        source = source_of(args.model, args.checkpoint, args.cfg_options, not args.no_tokens)
        options = CorpusOptions(
            out=args.out,
            units=len(units),
            items=digest_of_units(units),
            reading=reading,
            batch_size=args.batch_size or BATCH_SIZE,
            workers=_WORKERS if args.workers is None else args.workers,
            backend_args=args.backend_args,
            source=source,
            sources=tuple(map(whole_path, args.sources)),
        )
        device = args.device or own_device()
        arguments = (options, partial(engine_of, source, device))
        rank, world = own_rank()
        if args.ray is not None:
            gpu = device.startswith("cuda")
            reports = by_ray(units, CorpusEncoder, arguments, args.ray, gpu)
        else:
            units = units[rank::world]
            reports = _here(units, CorpusEncoder(*arguments))
        found = list(tracked(reports, len(units), hidden=rank > 0, pieces=True))
    counts = {name: sum(report[name] for report in found) for name in ("encoded", "there")}
    faults = [fault for report in found for fault in report["faults"]]
    name = f"rank {rank} of {world}: " if world > 1 else ""
    print(f"{name}{counts['encoded']} files encoded, {counts['there']} there, {len(faults)} faults")
    for fault in faults:
        print(f"  {shown(fault)}")
    return int(bool(faults))


def _here(units: list[str], encoder: CorpusEncoder) -> Iterator[str]:
    for unit in units:
        yield from encoder({"unit": [unit]})["report"]
