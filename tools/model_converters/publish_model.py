r"""Turn what a training saved into what others load: a backbone file, or the folder of an adapter.

    python tools/model_converters/publish_model.py work_dirs/blip_tiny/epoch_5.pth \
        configs/pretrain/blip_tiny.safetensors --metafile configs/pretrain/metafile.yml
    python tools/model_converters/publish_model.py work_dirs/msrvtt_r512 published \
        --licence apache-2.0

A DST that ends in ``.safetensors`` is a backbone: towers and heads alone; momentum averages, the
queue and the optimizer are left out. The file's size and sha256 are printed and, with
``--metafile``, written to the entry of that name.

Any other DST is a folder in which ``NAME-<8 hex>`` is made, the folder of an adapter that
``AutoAdapterModel.from_pretrained`` loads by itself, with a card (README.md); SRC is a run's folder
(its best checkpoint, else its last), a checkpoint, or an adapter's folder. With ``--metafile`` an
entry is written behind the others; a command that ended between the two is finished by running it
again. Loading runs no pickled code.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

import torch

from uniadapter.apis.publish import (
    PublishOptions,
    add_entry,
    metafile_entry,
    publish_adapter,
    with_entry,
)
from uniadapter.checkpoints import read_state_dict, write
from uniadapter.checkpoints.card import About
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.errors import one_message
from uniadapter.utils.model_index import read_metafile
from uniadapter.utils.safe_io import atomic_write

#: What a backbone file holds; everything else in a training checkpoint is a state of training.
HEADS = (
    *("vision_proj.", "text_proj.", "visual_pool.", "text_pool."),
    *("logit_fc.", "itm_head.", "temp", "logit_scale"),
    *("class_embed.", "bbox_embed.", "contrastive_align_projection_"),
)
PARTS = ("visual.", "text.", "decoder.", "detr.", *HEADS)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("src", help="training checkpoint (.pth), run's folder or adapter's folder")
    parser.add_argument("dst", help="file of a backbone (.safetensors), or folder for adapters")
    parser.add_argument("--metafile", help="YAML file whose entry gets the new sha256")
    adapter = parser.add_argument_group("adapters")
    adapter.add_argument("--config", help="config that trained it; default: the one beside SRC")
    adapter.add_argument("--name", help="default: that of the config")
    adapter.add_argument("--licence", help="of the adapter, such as apache-2.0")
    adapter.add_argument("--data", help="what it was trained on; default: the config's data set")
    adapter.add_argument("--command", help="what trained it; default: the config's first line")
    adapter.add_argument(
        "--metrics",
        nargs="+",
        action=CfgOptions,
        help="figures as name=value; default: those of the run's log",
    )
    adapter.add_argument("--base-model", help="name of the backbone on the Hub")
    adapter.add_argument("--backbone-url", help="where others get the backbone's file")
    adapter.add_argument(
        "--with-backbone", action="store_true", help="put the frozen backbone into the folder"
    )
    adapter.add_argument("--collection", help="of the metafile, for the entry; default: its only")
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
            "because the backbone was frozen. Name a folder as DST to publish its adapter, or "
            "publish the checkpoint of a pre-training or a full fine-tuning."
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


def with_digest(metafile: str | Path, weights: str, digest: str) -> str:
    """The text of a metafile in which the entry whose ``Weights`` is ``weights`` has a digest.

    Raises:
        ValueError: When no entry has these weights.
    """
    path = Path(metafile)
    pattern = re.compile(rf"(Weights: {re.escape(weights)}\n\s+SHA256: )\S+")
    text, count = pattern.subn(rf"\g<1>{digest}", path.read_text(encoding="utf-8"))
    if not count:
        raise ValueError(f"{path}: no entry has `Weights: {weights}` followed by `SHA256:`.")
    return text


def update_metafile(metafile: str | Path, weights: str, digest: str) -> None:
    """Set ``SHA256`` of the entry whose ``Weights`` is ``weights``, leaving the rest as it is.

    Raises:
        ValueError: When no entry has these weights.
    """
    atomic_write(metafile, with_digest(metafile, weights, digest).encode())


def publish_folder(args: argparse.Namespace) -> None:
    """Publish an adapter as the command line says."""
    about = About(
        metrics=dict(args.metrics or {}),
        data=args.data,
        command=args.command,
        licence=args.licence,
        base_model=args.base_model,
    )
    given = (args.config, args.name, args.with_backbone, args.backbone_url)
    # Without an entry to be added, one that is there is whole.
    options = PublishOptions(*given, about, again=args.metafile is not None)
    collection = _collection(args) if args.metafile else ""
    folder = publish_adapter(args.src, args.dst, options)
    print(f"written: {folder}")
    if args.metafile:
        add_entry(args.metafile, metafile_entry(folder, Path(), args.config, collection))
    if args.licence is None:
        print("The card states no licence, and nobody may use it without one: --licence.")


def _collection(args: argparse.Namespace) -> str:
    """Name of the collection that an entry goes to."""
    if args.config is None:
        raise ValueError("--metafile: an entry names its config, so --config is needed.")
    names = [
        collection["Name"]
        for collection in read_metafile(args.metafile, needs_config=False)["Collections"]
    ]
    name = args.collection or (names[0] if len(names) == 1 else None)
    if name not in names:
        raise ValueError(
            f"{args.metafile}: name one of its collections with --collection: {names}."
        )
    # What takes no entry is refused before anything is written.
    with_entry(args.metafile, {"Name": "", "Config": ""})
    return str(name)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Export as the command line says."""
    args = parse_args(argv)
    try:
        if Path(args.dst).suffix not in (".safetensors", ".pth", ".pt", ".bin"):
            publish_folder(args)
            return
        if args.metafile:
            read_metafile(args.metafile, needs_config=False)
            with_digest(args.metafile, Path(args.dst).as_posix(), "")
        digest, size = publish(args.src, args.dst)
        if args.metafile:
            update_metafile(args.metafile, Path(args.dst).as_posix(), digest)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{args.dst}: {size / 2**20:.2f} MiB, sha256 {digest}")


if __name__ == "__main__":
    main()
