"""Extract a feature of every 1.5 seconds of videos by CLIP's ViT, as VL-Adapter reads them.

    python tools/dataset_converters/extract_clip_frames.py data/tv/videos \
        data/vl_adapter/video/vis_features/tv/clip-vit --weights ViT-B-32.pt

Of every stretch of --period seconds the frame in its middle is taken, of a video that is shorter
two frames; its short side is resized to 224 pixels (bicubic) and the middle cut. A video becomes a
(frames, 512) array of half precision under its name without extension: CLIP's image embeddings,
projected and not normalised.

``--format npz`` (default) and ``hdf5`` write a file a video, ``parquet`` shards of --shard-size
videos. On several GPUs or machines::

    torchrun --nproc-per-node 8 tools/dataset_converters/extract_clip_frames.py ...
    python tools/dataset_converters/extract_clip_frames.py ... --ray 8      # actors of Ray Data

What is there already is left alone, so a run that was interrupted can be repeated, with another
number of processes too; ``features.json`` says how the features were made, and a run that would
make others is refused. Exit status: 0 when all features are there, 1 when a video couldn't be read;
these are listed, and the others extracted all the same.
"""

from __future__ import annotations

import sys

from uniadapter.apis.extraction.command import options_of, parser_of, run
from uniadapter.utils.arguments import positive, side
from uniadapter.utils.errors import one_message


@one_message()
def main(argv: list[str] | None = None) -> int:
    """Extract and return the exit status."""
    parser = parser_of(__doc__, "frames", arch="b", kind="npz", shard_size=8)
    parser.add_argument("--period", type=positive, default=1.5, help="seconds (default: 1.5)")
    parser.add_argument(
        "--embed-dim", type=side, default=512, help="of the embedding (default: 512, ViT-B/32's)"
    )
    args = parser.parse_args(argv)
    if args.size % 32:
        parser.error("--size must be a multiple of 32, the side of a patch")
    return run(args, options_of(args, parser))


if __name__ == "__main__":
    sys.exit(main())
