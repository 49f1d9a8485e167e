"""Extract the grids of features of pictures by CLIP's ResNet, as VL-Adapter reads them.

    python tools/dataset_converters/extract_clip_grids.py data/coco/images \
        data/vl_adapter/COCO/clip_features/data_clip_RN101_att --weights RN101.pt

Every picture is squared to 224 x 224 pixels (bicubic, its aspect ratio is not kept) and becomes a
(49, 2048) array of half precision under its name without extension: the last map of the network, in
front of the attention pool, row by row. A truncated picture is read as far as it goes.

``--format hdf5`` (default) and ``npz`` write a file a picture, ``parquet`` shards of --shard-size
pictures. On several GPUs or machines::

    torchrun --nproc-per-node 8 tools/dataset_converters/extract_clip_grids.py ...
    python tools/dataset_converters/extract_clip_grids.py ... --ray 8      # actors of Ray Data

What is there already is left alone, so a run that was interrupted can be repeated, with another
number of processes too; ``features.json`` says how the features were made, and a run that would
make others is refused. Exit status: 0 when all features are there, 1 when a picture couldn't be
read; these are listed, and the others extracted all the same.
"""

from __future__ import annotations

import sys

from uniadapter.apis.extraction.command import options_of, parser_of, run
from uniadapter.utils.errors import one_message


@one_message()
def main(argv: list[str] | None = None) -> int:
    """Extract and return the exit status."""
    parser = parser_of(__doc__, "grids", arch="RN101", kind="hdf5", shard_size=512)
    args = parser.parse_args(argv)
    if args.size % 32:
        parser.error("--size must be a multiple of 32, the side of a cell")
    return run(args, options_of(args, parser))


if __name__ == "__main__":
    sys.exit(main())
