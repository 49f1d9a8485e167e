"""Convert checkpoints of BLIP, ALBEF, BEiT-3, CLIP, T5, BART, UniAdapter and other projects."""

from __future__ import annotations

import argparse
import json
import sys

from uniadapter.apis import convert_checkpoint
from uniadapter.checkpoints.layouts import SOURCES, TARGETS
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.config import load_config
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "src",
        help="checkpoint to read; with --from hf, clip-hf, t5-hf or bart-hf a folder or a file in "
        "it",
    )
    parser.add_argument(
        "dst",
        help="file to write: .safetensors in our names and with --to clip-hf, a folder with --to "
        "hf, else .pth",
    )
    parser.add_argument(
        "--from", dest="source", choices=sorted(SOURCES), help="layout of SRC; default: ours"
    )
    parser.add_argument("--to", dest="target", choices=TARGETS, help="layout of DST; default: ours")
    parser.add_argument(
        "--init-decoder",
        action="store_true",
        help="start the decoder from the encoder's upper layers (--from albef, pre-trained)",
    )
    parser.add_argument(
        "--answers", help="LXMERT's all_ans.json, the answers of the head (--from clip-vil-start)"
    )
    parser.add_argument("--config", required=True, help="config of the model")
    parser.add_argument("--report", help="also write what became of every source key here (.json)")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        help="options of the config to override, as key=value; nested keys take dots",
    )
    return parser.parse_args(argv)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Convert a checkpoint and say what became of its keys."""
    args = parse_args(argv)
    try:
        config = load_config(args.config, args.cfg_options)
        report = convert_checkpoint(
            args.src,
            args.dst,
            config,
            args.source,
            args.target,
            args.init_decoder,
            args.answers,
        )
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print("\n".join(report.lines()))
    if args.report:
        with one_message():
            atomic_write(args.report, (json.dumps(vars(report), indent=2) + "\n").encode())
    print(f"written: {args.dst}")


if __name__ == "__main__":
    main()
