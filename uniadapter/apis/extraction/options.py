"""What is extracted, with what, and in which pieces."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniadapter.datasets.media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from uniadapter.utils.json_files import differences, parse_json
from uniadapter.utils.safe_folders import create_file

#: Weights that are drawn, for trying things out.
RANDOM = "random"
#: Describes the features of a folder.
MANIFEST = "features.json"
_EXTENSIONS = {"grids": IMAGE_EXTENSIONS, "frames": VIDEO_EXTENSIONS}


@dataclass(frozen=True)
class ExtractionOptions:
    """Options of one extraction; all of them can be pickled.

    Attributes:
        what: ``'grids'``, of pictures, or ``'frames'``, of videos.
        out: Folder to write to.
        kind: How features are stored: ``'hdf5'``, ``'npz'`` or ``'parquet'``.
        weights: CLIP's published file, or :data:`RANDOM`.
        arch: Of the network: that of :class:`~uniadapter.models.backbones.ClipResNet` for grids, of
            :class:`~uniadapter.models.backbones.ClipVisual` for frames.
        size: Side of the square that the network sees, in pixels.
        period: Seconds between frames.
        embed_dim: Numbers of a frame, those of CLIP's embedding.
        batch_size: Pictures or frames that the network sees at once.
        workers: Processes that decode; 0: the process itself does.
        device: Of the network, such as ``'cuda:0'``.
        seed: Of random weights.
    """

    what: str
    out: str
    kind: str
    weights: str
    arch: str | dict[str, Any]
    size: int = 224
    period: float = 1.5
    embed_dim: int = 512
    batch_size: int = 64
    workers: int = 0
    device: str = "cpu"
    seed: int = 0

    def facts(self) -> dict[str, Any]:
        """What features depend on, for the folder's manifest."""
        facts: dict[str, Any] = {"what": self.what, "kind": self.kind, "arch": self.arch}
        facts["size"] = self.size
        if self.what == "frames":
            facts["period"] = self.period
        if self.weights == RANDOM:
            return {**facts, "weights": f"{RANDOM}, seed {self.seed}"}
        return {**facts, "weights": _digest(self.weights)}


def _digest(path: str) -> str:
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{path} does not exist: --weights is CLIP's published file, such as RN101.pt or "
            "ViT-B-32.pt."
        )
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return f"sha256 {digest.hexdigest()}"


def find_media(root: str, what: str) -> dict[str, str]:
    """Find the pictures or videos under a folder, by their names without extension.

    Args:
        root: The folder; folders in it are searched too.
        what: ``'grids'`` or ``'frames'``.

    Returns:
        Paths by name, in the order of the names.

    Raises:
        FileNotFoundError: When there is no such folder, or nothing in it.
        ValueError: When two files have one name.
    """
    if not os.path.isdir(root):
        raise FileNotFoundError(f"{root} is not a folder.")
    found: dict[str, str] = {}
    for path in sorted(Path(root).rglob("*")):
        if path.suffix.lower() in _EXTENSIONS[what] and path.is_file():
            first = found.setdefault(path.stem, str(path))
            if first != str(path):
                raise ValueError(
                    f"{first} and {path} would both be {path.stem!r}: rename one, or extract their "
                    "folders apart."
                )
    if not found:
        raise FileNotFoundError(f"{root} holds no file {_EXTENSIONS[what]}.")
    return dict(sorted(found.items()))


def make_units(media: Mapping[str, str], per_unit: int) -> list[str]:
    """Divide media into pieces of work, which don't depend on how many processes do them.

    Args:
        media: Paths by name.
        per_unit: Media of a piece.

    Returns:
        Each piece as a JSON object with ``shard``, its name, ``names`` and ``paths``.
    """
    names = list(media)
    parts = [names[start : start + per_unit] for start in range(0, len(names), per_unit)]
    return [
        json.dumps(
            {"shard": f"part-{number:05d}", "names": part, "paths": [media[n] for n in part]}
        )
        for number, part in enumerate(parts)
    ]


def check_manifest(options: ExtractionOptions, names: Sequence[str], per_unit: int) -> None:
    """See that what is in the folder already was made alike, and write down how.

    Args:
        options: Of the extraction.
        names: Those of all media.
        per_unit: Media of a shard.

    Raises:
        ValueError: When the folder's features were made otherwise, or are of unknown origin.
    """
    facts = options.facts()
    if options.kind == "parquet":
        # Which names are in which shard.
        joined = "\n".join(names).encode("utf-8", "surrogateescape")
        facts["names"] = f"{len(names)}, sha256 {hashlib.sha256(joined).hexdigest()}"
        facts["shard_size"] = per_unit
    check_facts(Path(options.out) / MANIFEST, facts)


def check_facts(
    path: Path, facts: Mapping[str, Any], words: Mapping[str, str] | None = None
) -> None:
    """See that what is in a folder already was made alike, and write down how.

    Args:
        path: The folder's manifest.
        facts: What its files depend on, plain.
        words: What the facts are called in messages.

    Raises:
        ValueError: When they were made otherwise, or are of unknown origin.
    """
    if not path.is_file():
        there = os.listdir(path.parent) if path.parent.is_dir() else []
        # Other processes may begin at this moment, with a temporary file or the manifest itself.
        if any(not name.startswith(".") for name in there) and not path.is_file():
            raise ValueError(
                f"{path.parent} holds files, but no {path.name} that says how they were made: name "
                "an empty folder."
            )
    text = json.dumps(facts, indent=1) + "\n"
    if not path.is_file() and create_file(path, text.encode()):
        return
    try:
        known = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): name another folder.") from error
    former = {name: known.get(name) if isinstance(known, dict) else None for name in facts}
    differ = differences(former, json.loads(json.dumps(facts)), words)
    if differ:
        raise ValueError(
            f"{path}: the features there were extracted with another {', '.join(differ)}. Name "
            "another folder (--out), or remove this one."
        )
