r"""Prepare captioned pictures of two Debian packages for image-text retrieval.

    apt-get download tuxpaint-stamps-default openclipart-svg
    for package in tuxpaint-stamps-default openclipart-svg; do dpkg -x ${package}_*.deb data/packages; done
    python tools/dataset_converters/prepare_real_pictures.py --stamps data/packages \
        --clipart data/packages --out data/real

writes for each collection (see docs/real_weights.md)::

    data/real/stamps/
        images/0000.png ...     on white, square
        captions.json           file, caption, theme, origin and SHA-256 of every picture
        splits/0/{train,val,test}.jsonl ...
        manifest.json           counts, what was left out and why, SHA-256 of all of it

The pictures belong to their packages (GPL-2 and public domain); nothing of them is part of this
repository. Exit status: 0, also when a picture could not be read, which is listed and counted; 1
when nothing could be written.
"""  # noqa: E501

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uniadapter.utils.arguments import natural, seed_number, side
from uniadapter.utils.json_files import json_text

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "dataset_converters"))

from real_pictures.pixels import PictureError, Raster, find_raster, load_picture  # noqa: E402
from real_pictures.sources import Found, Source, read_clipart, read_stamps  # noqa: E402
from real_pictures.splits import Split, key_of, make_splits  # noqa: E402

from uniadapter.utils.errors import one_message  # noqa: E402
from uniadapter.utils.safe_io import atomic_write  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stamps", help="where tuxpaint-stamps-default was unpacked")
    parser.add_argument("--clipart", help="where openclipart-svg was unpacked")
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--size", type=side, default=224, help="side of the pictures in pixels")
    parser.add_argument("--splits", type=natural, default=5, help="how many splits")
    parser.add_argument("--test", type=natural, default=100, help="pictures of a test set")
    parser.add_argument("--val", type=natural, default=80, help="pictures of the validation set")
    parser.add_argument("--seed", type=seed_number, default=0, help="another seed, other splits")
    parser.add_argument("--limit", type=natural, help="drawings of openclipart at most (1200)")
    parser.add_argument("--symbols", action="store_true", help="keep letters, digits and coins")
    parser.add_argument("--raster", help="cairosvg or resvg_py (default: what is installed)")
    parser.add_argument("--no-svg", action="store_true", help="leave SVG drawings out")
    args = parser.parse_args(argv)
    if not (args.stamps or args.clipart):
        parser.error("name --stamps or --clipart, or both")
    if args.symbols and not args.stamps:
        parser.error("--symbols needs --stamps")
    if args.limit is not None and not args.clipart:
        parser.error("--limit needs --clipart")
    if args.raster is not None and args.no_svg:
        parser.error("--raster draws what --no-svg leaves out")
    if args.limit is None:
        args.limit = 1200
    return args


def drawn(found: Found, limit: int, seed: int) -> Found:
    """At most so many of some sources, by a hash of their captions, in their order."""

    def order(source: Source) -> str:
        return hashlib.sha256(f"{seed}:{source.caption}:{source.path.name}".encode()).hexdigest()

    if len(found.sources) <= limit:
        return found
    chosen = set(sorted(found.sources, key=order)[:limit])
    left = found.left + Counter({"beyond --limit": len(found.sources) - limit})
    return Found([source for source in found.sources if source in chosen], left)


def load_all(
    sources: list[Source], size: int, raster: Raster | None
) -> tuple[list[Source], list[np.ndarray], list[str]]:
    """Read pictures.

    Args:
        sources (list[Source]): The pictures.
        size (int): Side in pixels.
        raster (Callable, optional): For SVG.

    Returns:
        tuple: Those that could be read, their pixels, and a line for each of the others.
    """
    good, pixels, faults = [], [], []
    for source in sources:
        try:
            pixels.append(load_picture(source.path, size, raster))
            good.append(source)
        except PictureError as error:
            faults.append(f"{source.path}: {error}")
    return good, pixels, faults


def write_collection(
    folder: Path, found: Found, args: argparse.Namespace, raster: Raster | None
) -> dict[str, Any]:
    """Write one collection.

    Args:
        folder (Path): Where; what is in it is replaced.
        found (Found): Its pictures.
        args (Namespace): Sizes of pictures and splits.
        raster (Callable, optional): For SVG.

    Returns:
        dict: What stands in its manifest.

    Raises:
        ValueError: If there are too few pictures for the splits.
    """
    left = Counter(found.left)
    sources = found.sources
    if args.no_svg:
        sources = [s for s in sources if s.path.suffix.lower() != ".svg"]
        left["SVG, by --no-svg"] = len(found.sources) - len(sources)
    sources, pixels, faults = load_all(sources, args.size, raster)
    digests = [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pixels]
    captions = [source.caption for source in sources]
    splits = make_splits(captions, digests, args.splits, args.test, args.val, args.seed)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    entries = []
    for index, (source, picture) in enumerate(zip(sources, pixels, strict=True)):
        name = f"{index:04d}.png"
        Image.fromarray(picture).save(folder / "images" / name)
        entry = {"image": name, "caption": source.caption, "key": key_of(source.caption)}
        origin = {"theme": source.theme, "origin": source.path.name, "sha256": digests[index]}
        entries.append({**entry, **origin})
    text = json_text(entries, indent=1) + "\n"
    atomic_write(folder / "captions.json", text.encode())
    for number, split in enumerate(splits):
        write_split(folder / "splits" / str(number), split, entries)
    manifest = {
        "pictures": len(entries),
        "descriptions": len(set(map(key_of, captions))),
        "size": args.size,
        "splits": [{name: len(part) for name, part in s._asdict().items()} for s in splits],
        "seed": args.seed,
        "left_out": dict(left),
        "unreadable": faults,
        "sha256": hashlib.sha256((text + json.dumps(splits)).encode()).hexdigest(),
    }
    atomic_write(folder / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    return manifest


def write_split(folder: Path, split: Split, entries: list[dict[str, str]]) -> None:
    """Write the lines of ``RetrievalJsonDataset``."""
    for name, numbers in split._asdict().items():
        rows = [entries[i] for i in numbers]
        lines = [json.dumps({"media": r["image"], "text": r["caption"]}) for r in rows]
        atomic_write(folder / f"{name}.jsonl", ("\n".join(lines) + "\n").encode())


def report(name: str, manifest: dict[str, Any]) -> None:
    """Say what was written and what was not."""
    sizes = manifest["splits"][0]
    print(
        f"{name}: {manifest['pictures']} pictures, {manifest['descriptions']} descriptions, "
        f"{len(manifest['splits'])} splits of {sizes['train']} / {sizes['val']} / {sizes['test']}"
    )
    for reason, count in manifest["left_out"].items():
        print(f"  left out: {count} ({reason})")
    if manifest["unreadable"]:
        print(f"  unreadable: {len(manifest['unreadable'])}")
    for line in manifest["unreadable"]:
        print(f"    {line}")


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Prepare the collections that were named."""
    args = parse_args(argv)
    try:
        collections = {}
        if args.stamps:
            collections["stamps"] = read_stamps(args.stamps, *([()] if args.symbols else []))
        if args.clipart:
            collections["clipart"] = drawn(read_clipart(args.clipart), args.limit, args.seed)
        vector = [s for found in collections.values() for s in found.sources]
        wanted = not args.no_svg and any(s.path.suffix.lower() == ".svg" for s in vector)
        raster = find_raster(args.raster) if wanted else None
        for name, found in collections.items():
            report(name, write_collection(Path(args.out) / name, found, args, raster))
    except (FileNotFoundError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
