r"""Turn a training checkpoint into a backbone file: towers and heads alone, as safetensors.

    python tools/model_converters/publish_model.py work_dirs/blip_tiny/epoch_5.pth \
        configs/pretrain/blip_tiny.safetensors --metafile configs/pretrain/metafile.yml

Momentum averages, the queue and the optimizer are left out. The file's size and sha256 are printed
and, with ``--metafile``, written to the entry of that name. Loading runs no pickled code.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

import torch

from uniadapter.checkpoints import read_state_dict, write

#: What a backbone file holds; everything else in a training checkpoint is a state of training.
HEADS = (
    *("vision_proj.", "text_proj.", "visual_pool.", "text_pool."),
    *("logit_fc.", "itm_head.", "temp", "logit_scale"),
    *("class_embed.", "bbox_embed.", "contrastive_align_projection_"),
)
PARTS = ("visual.", "text.", "decoder.", "detr.", *HEADS)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Export a backbone as safetensors.")
    parser.add_argument("src", help="training checkpoint (.pth)")
    parser.add_argument("dst", help="file to write (.safetensors)")
    parser.add_argument("--metafile", help="YAML file whose entry gets the new sha256")
    return parser.parse_args(argv)


def backbone_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of towers, heads and temperature, contiguous and on the CPU.

    Raises:
        ValueError: When there is no tower among them.
    """
    chosen = {k: v.detach().cpu().contiguous() for k, v in state.items() if k.startswith(PARTS)}
    if not any(name.startswith(("visual.", "text.")) for name in chosen):
        raise ValueError(
            "The checkpoint has no visual tower and none of text: it holds trained tensors alone, "
            "because the backbone was frozen. Publish the checkpoint of a pre-training or a full "
            "fine-tuning."
        )
    return chosen


def publish(src: str | Path, dst: str | Path) -> tuple[str, int]:
    """Write the backbone of ``src`` to ``dst``; return its sha256 and its size in bytes.

    Raises:
        FileNotFoundError: When ``src`` does not exist.
        ValueError: When ``dst`` is no safetensors file or ``src`` has no backbone.
    """
    dst = Path(dst)
    if dst.suffix != ".safetensors":
        raise ValueError(f"{dst}: a backbone is written as safetensors, name a .safetensors file.")
    state = backbone_state(read_state_dict(src))
    write(dst, state)
    return hashlib.sha256(dst.read_bytes()).hexdigest(), dst.stat().st_size


def update_metafile(metafile: str | Path, weights: str, digest: str) -> None:
    """Set ``SHA256`` of the entry whose ``Weights`` is ``weights``, leaving the rest as it is.

    Raises:
        ValueError: When no entry has these weights.
    """
    path = Path(metafile)
    pattern = re.compile(rf"(Weights: {re.escape(weights)}\n\s+SHA256: )\S+")
    text, count = pattern.subn(rf"\g<1>{digest}", path.read_text(encoding="utf-8"))
    if not count:
        raise ValueError(f"{path}: no entry has `Weights: {weights}` followed by `SHA256:`.")
    path.write_text(text, encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Export as the command line says."""
    args = parse_args(argv)
    try:
        digest, size = publish(args.src, args.dst)
        if args.metafile:
            update_metafile(args.metafile, Path(args.dst).as_posix(), digest)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{args.dst}: {size / 2**20:.2f} MiB, sha256 {digest}")


if __name__ == "__main__":
    main()
