r"""Write a retrieval model and its adapter as ONNX files, or as programs of torch.export.

    uniadapter export tiny_uniadapter_r32 --out exported
    uniadapter export uniadapter_msrvtt_r512 --checkpoint my_adapter/ --out exported --format torch

What was written is compared with the model on inputs that are drawn, and kept only where they
differ by no more than 1e-4. `uniadapter index`, `search` and `serve` take the folder in the place
of a model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from uniadapter.apis.export import ExportFacts, ExportOptions, check_folder, export_model
from uniadapter.apis.inferencers.base import model_of
from uniadapter.utils.arguments import natural
from uniadapter.utils.errors import one_message


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="uniadapter export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="a model's name or a config")
    parser.add_argument("--out", required=True, help="folder that is made, or is empty")
    parser.add_argument("--checkpoint", help="weights or folder of an adapter; else by the name")
    parser.add_argument("--format", default="onnx", choices=("onnx", "torch"), help="(onnx)")
    parser.add_argument("--opset", type=natural, help="ONNX's set of operators (18)")
    parser.add_argument("--device", default="cpu", help="where the model is traced (cpu)")
    parser.add_argument("--no-check", action="store_true", help="don't compare with the model")
    return parser.parse_args(argv)


def report(folder: Path, facts: ExportFacts) -> str:
    """What was written, a part a line."""
    lines = [f"{folder} ({facts.format}, {facts.model['type']}, adapter {facts.model['adapter']})"]
    for name in sorted(facts.files):
        lines.append(f"  {name:<16} {(folder / name).stat().st_size / 2**20:8.1f} MiB")
    if facts.difference is None:
        lines.append("not compared with the model")
    else:
        lines.append(f"largest difference from the model: {facts.difference:.1e}")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Export as the arguments say."""
    args = parse_args(argv)
    chosen = {"format": args.format, "opset": args.opset, "device": args.device}
    with one_message():
        # What is wrong with these is said before a model is built.
        check_folder(args.out)
        try:
            ExportOptions(**chosen)
        except ImportError as error:
            sys.exit(f"error: {error}")
        checkpoint = True if args.checkpoint is None else args.checkpoint
        model = model_of(args.model, checkpoint, "cpu", None)
        facts = export_model(model, args.out, check=not args.no_check, **chosen)
    print(report(Path(args.out), facts))
    return 0
