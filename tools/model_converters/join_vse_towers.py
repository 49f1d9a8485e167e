r"""Join ResNeXt-101 and BERT to the file that UniPT on VSE-infinity starts from.

    python tools/model_converters/join_vse_towers.py --visual ig_resnext101_32x8-c38310e5.pth \
        --text bert-base-uncased/pytorch_model.bin --out checkpoints/resnext101_wsl_bert.safetensors

Side networks, poolings and projections are in neither file: they begin at random (docs/unipt_vse.md).
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from uniadapter.checkpoints import write
from uniadapter.checkpoints.layouts import read_towers
from uniadapter.models import build_model
from uniadapter.utils.config import load_model_config
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write

ROOT = Path(__file__).resolve().parents[2]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--visual", required=True, help="weights of torchvision's ResNet")
    parser.add_argument("--text", required=True, help="weights of transformers' BERT")
    parser.add_argument(
        "--config",
        default=str(ROOT / "configs/unipt/vse_flickr30k.py"),
        help="config of the model (default: the published one)",
    )
    parser.add_argument("--out", required=True, help="file to write (.safetensors)")
    parser.add_argument("--report", help="also write what became of every source key here (.json)")
    return parser.parse_args(argv)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Join the towers and say what became of their keys."""
    args = parse_args(argv)
    try:
        if not args.out.endswith(".safetensors"):
            raise ValueError(f"--out {args.out} must end in .safetensors.")
        with torch.device("meta"):
            model = build_model(load_model_config(args.config).model.to_dict())
        state, report = read_towers(args.visual, args.text, model)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    write(args.out, state)
    print("\n".join(report.lines()))
    if args.report:
        with one_message():
            atomic_write(args.report, (json.dumps(vars(report), indent=2) + "\n").encode())
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
