"""Store features in another way: HDF5 or NPZ files, or Parquet shards of small row groups.

    python tools/dataset_converters/convert_features.py parquet data/vl_adapter/features/COCO/data_clip_RN101_att npz data/fast/COCO
    python tools/dataset_converters/convert_features.py parquet data/vl_adapter/features/COCO/data_clip_RN101_att parquet data/fast/COCO

Numbers are copied as they are. What is there already is left alone, so a run that was interrupted
can be repeated.
"""  # noqa: E501

from __future__ import annotations

import argparse
import sys

import numpy as np
from rich.progress import track

from uniadapter.datasets.feature_stores import STORES, open_features
from uniadapter.datasets.feature_stores.writing import FeatureWriter
from uniadapter.utils.arguments import natural
from uniadapter.utils.errors import one_message


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source_kind", choices=list(STORES), help="how features are stored")
    parser.add_argument("source", help="their folder")
    parser.add_argument("kind", choices=list(STORES), help="how they are to be stored")
    parser.add_argument("out", help="folder to write to")
    parser.add_argument("--shard-size", type=natural, default=512, help="names of a Parquet shard")
    return parser.parse_args(argv)


@one_message()
def main(argv: list[str] | None = None) -> int:
    """Convert and return the exit status."""
    args = parse_args(argv)
    try:
        store = open_features(
            {"type": args.source_kind, "root": args.source, "shape": (None, None)}
        )
        writer = FeatureWriter(args.out, args.kind)
        names = store.names()
        if not names:
            raise FileNotFoundError(f"{args.source} holds no features of kind {args.source_kind}.")
        for start in track(range(0, len(names), args.shard_size), "features:"):
            shard = f"part-{start // args.shard_size:05d}"
            part = names[start : start + args.shard_size]
            left, lost = writer.left(shard, part)
            if lost:
                raise ValueError(
                    f"{args.out}/{shard} lacks {lost[0]!r}: it was made of other features or with "
                    "another --shard-size; name another folder."
                )
            if left:
                writer.write(shard, {name: np.asarray(store.load(name)) for name in left})
    except (OSError, ImportError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{len(names)} pictures or videos are in {args.out} as {args.kind}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
