"""Peak memory of a retrieval test's gallery: visual tokens in main memory or on disk.

A gallery of random visual tokens is filled through the real encoder and read once, medium by
medium, as re-ranking does. The model is a stand-in that returns random tokens, so neither towers
nor data take part. Each row is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uniadapter.retrieval.gallery import GalleryEncoder
from uniadapter.retrieval.token_store import token_store
from uniadapter.structures import MultimodalSample
from uniadapter.utils.arguments import natural, processes, side, whole
from uniadapter.utils.errors import one_message

#: Rows: dtype of the tokens, and whether they lie on disk.
ROWS = (
    ("float32", False),
    ("float16", False),
    ("bfloat16", False),
    ("float32", True),
    ("float16", True),
)
_TEXT_TOKENS, _TEXT_WIDTH = 35, 768


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=natural, default=1000, help="videos (MSR-VTT 1k-A: 1000)")
    parser.add_argument("--frames", type=side, default=16, help="frames a video")
    parser.add_argument("--tokens", type=side, default=197, help="tokens a frame (224: 197)")
    parser.add_argument("--width", type=side, default=768, help="of a token")
    parser.add_argument("--embed-dim", type=side, default=256, help="of the normalised features")
    parser.add_argument("--batch-size", type=side, default=8, help="videos encoded at once")
    parser.add_argument("--threads", type=processes, default=1, help="threads of torch")
    parser.add_argument("--dir", help="folder for tokens on disk (default: the system's)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--row", type=whole(0), choices=range(len(ROWS)), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


class RandomModel:
    """What the encoder asks of a model, with random numbers for towers."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.generator = torch.Generator().manual_seed(0)

    def data_preprocessor(self, data: dict[str, Any], training: bool) -> dict[str, Any]:
        """One text of full length a medium."""
        shape = (len(data["data_samples"]), _TEXT_TOKENS)
        return {
            "pixels": torch.empty(shape[0], 0),
            "input_ids": torch.ones(shape, dtype=torch.long),
            "attention_mask": torch.ones(shape, dtype=torch.long),
            "data_samples": data["data_samples"],
        }

    def encode_visual(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, N, M, D), features (B, E) and features of frames (B, N, E)."""
        args = self.args
        tokens = torch.empty(len(pixels), args.frames, args.tokens, args.width)
        tokens.normal_(generator=self.generator)
        frames = torch.zeros(len(pixels), args.frames, args.embed_dim)
        return tokens, frames[:, 0], frames

    def encode_text(
        self, ids: Tensor, mask: Tensor, class_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        """States (T, L or 1, D) and features (T, E)."""
        states = torch.zeros(len(ids), 1 if class_only else ids.shape[1], _TEXT_WIDTH)
        return states, torch.zeros(len(ids), self.args.embed_dim)


def batches(args: argparse.Namespace) -> list[dict[str, list]]:
    """What a data loader would give, without pixels."""
    samples = [
        MultimodalSample(
            metainfo={
                "media_id": index,
                "video_id": f"video{index}",
                "media_path": f"video{index}.mp4",
                "texts": ["a caption"],
                "skipped": False,
            }
        )
        for index in range(args.media)
    ]
    parts = [samples[i : i + args.batch_size] for i in range(0, args.media, args.batch_size)]
    return [{"inputs": [None] * len(part), "data_samples": part} for part in parts]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Fill and read the gallery of one row in this process, which should be a fresh one."""
    torch.set_num_threads(args.threads)
    dtype, on_disk = ROWS[args.row]
    before = peak_bytes()
    with (
        tempfile.TemporaryDirectory(dir=args.dir) as folder,
        token_store(folder if on_disk else None, args.media, "--dir") as tokens,
    ):
        encoder = GalleryEncoder(
            RandomModel(args), getattr(torch, dtype), text_batch=256, tokens=tokens
        )
        start = time.perf_counter()
        for batch in batches(args):
            encoder.add(batch)
        gallery = encoder.finish(args.media)
        filled = time.perf_counter()
        digest = 0.0
        for row in range(len(gallery.own_media)):
            digest += float(gallery.own_tokens[row].to(torch.float32)[-1, -1].sum())
        read = time.perf_counter()
        stored = gallery.own_bytes()
    peak = peak_bytes()
    return {
        "dtype": dtype,
        "on_disk": on_disk,
        "tokens_gib": round(stored / 2**30, 3),
        "peak_gib": round(peak / 2**30, 3),
        "added_gib": round((peak - before) / 2**30, 3),
        "fill_seconds": round(filled - start, 1),
        "read_seconds": round(read - filled, 1),
        "digest": digest,
        "threads": torch.get_num_threads(),
    }


def peak_bytes() -> int:
    """Largest resident memory this process has had so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike getrusage's figure it begins anew with the program.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure_apart(argv: list[str], row: int) -> dict[str, Any]:
    """Measure one row in a new process."""
    command = [sys.executable, __file__, *argv, "--row", str(row)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{ROWS[row]} ended with code {process.returncode}, see above.")
    return json.loads(process.stdout.splitlines()[-1])


def as_table(args: argparse.Namespace, rows: list[dict[str, Any]]) -> str:
    """Lay the figures out as text."""
    lines = [
        f"{args.media} media x {args.frames} frames x {args.tokens} tokens x {args.width}, "
        f"{rows[0]['threads']} thread(s); GiB",
        f"{'tokens':<18} {'they take':>10} {'peak of process':>16} {'of it added':>12} "
        f"{'fill s':>7} {'read s':>7}",
    ]
    for row in rows:
        name = f"{row['dtype']} {'on disk' if row['on_disk'] else 'in memory'}"
        lines.append(
            f"{name:<18} {row['tokens_gib']:>10.2f} {row['peak_gib']:>16.2f} "
            f"{row['added_gib']:>12.2f} {row['fill_seconds']:>7.1f} {row['read_seconds']:>7.1f}"
        )
    return "\n".join(lines)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    try:
        if args.row is not None:
            print(json.dumps(measure(args)))
            return
        rows = [measure_apart(argv, row) for row in range(len(ROWS))]
    except (OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(rows) if args.json else as_table(args, rows))


if __name__ == "__main__":
    main()
