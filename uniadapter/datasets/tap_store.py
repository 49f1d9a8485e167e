"""Taps of a training split on disk: a folder of files by medium, and what they were made with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..structures import META_KEYS, KeptItem, KeptStates, MultimodalSample
from ..utils.json_files import json_text, parse_json
from ..utils.safe_folders import create_file
from ..utils.safe_io import atomic_write
from .media import MediaError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MANIFEST = "taps.json"
_FORMAT = 1
_FORGET = "Remove the folder, or name another one in TapStoreHook.dir."


class TapStore:
    """States of all media and captions of a training split, by the dataset's own numbers.

    Which model, transforms and data they belong to is written beside them once, and every run
    compares: what was made with anything else is an error, never used.

    Args:
        folder: The folder.
        facts: What the states depend on, plain values by name, such as ``backbone``.
        layers: Numbers of the layers that are kept, of the visual and of the text tower.

    Raises:
        ValueError: If the folder holds states made with anything else, or no states of this kind.
    """

    def __init__(
        self,
        folder: str | Path,
        facts: Mapping[str, Any],
        layers: tuple[Sequence[int], Sequence[int]],
    ) -> None:
        self.folder = Path(folder)
        self.layers = (tuple(layers[0]), tuple(layers[1]))
        kept = {"format": _FORMAT, **facts, "layers": [list(part) for part in layers]}
        # As the file will have them.
        self.facts: dict[str, Any] = json.loads(json.dumps(kept))
        self.dtype = DTYPES[self.facts["dtype"]]
        self._check()

    def _check(self) -> None:
        path = self.folder / MANIFEST
        if not path.is_file():
            # Another process may begin at this moment, with a temporary file.
            if any(not name.startswith(".") for name in self._names()) and not path.is_file():
                raise ValueError(
                    f"{self.folder} holds files, but no {MANIFEST} of kept taps: name an empty "
                    "folder in TapStoreHook.dir."
                )
            return
        try:
            found = parse_json(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}). {_FORGET}") from error
        for name, value in self.facts.items():
            old = found.get(name) if isinstance(found, dict) else None
            if old != value:
                raise ValueError(
                    f"{path}: these taps were kept with another {name}: {_short(old)}, and this "
                    f"run has {_short(value)}. {_FORGET}"
                )

    def _names(self) -> list[str]:
        return os.listdir(self.folder) if self.folder.is_dir() else []

    def begin(self) -> None:
        """Write down what the states belong to, before the first of them."""
        path = self.folder / MANIFEST
        text = json.dumps(self.facts, indent=1) + "\n"
        if not path.is_file() and not create_file(path, text.encode()):
            # Another process began meanwhile, perhaps with something else.
            self._check()

    def missing(self, media: Sequence[int]) -> list[int]:
        """Those of some media of which not all is there."""
        return [medium for medium in media if not self._is_kept(medium)]

    def _is_kept(self, medium: int) -> bool:
        if self._fault(medium).is_file():
            return True
        return self._file("media", medium).is_file() and self._file("texts", medium).is_file()

    def put(
        self,
        medium: int,
        frames: KeptStates,
        texts: Mapping[int, tuple[str, torch.Tensor, KeptStates]],
    ) -> None:
        """Keep a medium and its captions.

        Args:
            medium: Its number in the dataset.
            frames: States of its frames.
            texts: By the item's number the caption as it is handed on, its ids and its states, one
                row each.

        Raises:
            ValueError: If a number does not fit the type on disk.
            OSError: If the folder can't be written, or the disk is full.
        """
        tensors: dict[str, torch.Tensor] = {}
        for index, (text, ids, states) in texts.items():
            tensors[f"{index}.text"] = torch.tensor(
                list(text.encode("utf-8", "surrogatepass")), dtype=torch.uint8
            )
            tensors[f"{index}.ids"] = ids
            tensors[f"{index}.hidden"] = self._rounded(states.hidden)
            tensors[f"{index}.out"] = self._plain(states.out)
        # The medium last: it is there when all is.
        self._write("texts", medium, tensors)
        hidden = self._rounded(frames.hidden)
        self._write("media", medium, {"hidden": hidden, "out": self._plain(frames.out)})

    def put_fault(self, medium: int, error: MediaError) -> None:
        """Keep that a medium can't be read; training replaces it, as it would without the taps."""
        facts = {"path": error.path, "reason": error.reason, "kind": error.kind}
        atomic_write(self._fault(medium), json.dumps(facts).encode(), sync=False)

    def item(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """What the pipeline gives of an item, with states in place of pixels.

        Args:
            info: The item, as the dataset has it.

        Raises:
            MediaError: If its medium could not be read when the states were kept.
            ValueError: If a file is missing or damaged.
        """
        medium, index = info["media_id"], info["sample_idx"]
        if self._fault(medium).is_file():
            raise self._read_fault(medium)
        frames = self._read("media", medium, ["hidden", "out"])
        names = [f"{index}.{part}" for part in ("hidden", "out", "ids", "text")]
        hidden, out, ids, text = self._read("texts", medium, names)
        facts = {key: info[key] for key in META_KEYS if key in info}
        facts["text"] = bytes(text.tolist()).decode("utf-8", "surrogatepass")
        facts |= {"replaced": list(info.get("replaced", ())), "skipped": False}
        item = KeptItem(KeptStates(*frames), KeptStates(hidden, out), ids, self.layers)
        return {"inputs": item, "data_samples": MultimodalSample(metainfo=facts)}

    def check_room(self, needed: int) -> int:
        """Free bytes of the disk.

        Raises:
            ValueError: If they are fewer than needed.
        """
        place = self.folder.absolute()
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if needed > free:
            raise ValueError(
                f"The taps need {needed / 2**30:.1f} GiB, and the disk of {self.folder} has "
                f"{free / 2**30:.1f} GiB left: name a folder on another one in TapStoreHook.dir, "
                "or keep fewer layers (adapter.taps), or half precision (TapStoreHook.dtype)."
            )
        return free

    def _rounded(self, states: torch.Tensor) -> torch.Tensor:
        kept = states.detach().cpu().to(self.dtype)
        if bool(torch.isinf(kept).any()) and not bool(torch.isinf(states).any()):
            raise ValueError(
                f"States of up to {float(states.abs().max()):.3g} do not fit TapStoreHook.dtype="
                f"{self.facts['dtype']!r}: use 'bfloat16' or 'float32'."
            )
        return kept.contiguous()

    def _plain(self, out: torch.Tensor) -> torch.Tensor:
        """What a tower gave: one token of a row alone is small, and kept as it is."""
        return out.detach().cpu().contiguous() if out.shape[1] == 1 else self._rounded(out)

    def _file(self, kind: str, medium: int) -> Path:
        return self.folder / kind / f"{medium // 1000:04d}" / f"{medium:07d}.safetensors"

    def _fault(self, medium: int) -> Path:
        return self._file("media", medium).with_suffix(".fault.json")

    def _read_fault(self, medium: int) -> MediaError:
        path = self._fault(medium)
        try:
            return MediaError(**parse_json(path.read_bytes()))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path} is damaged ({error}): remove it, and the next run keeps its taps anew."
            ) from error

    def _write(self, kind: str, medium: int, tensors: dict[str, torch.Tensor]) -> None:
        atomic_write(self._file(kind, medium), save(tensors), sync=False)

    def _read(self, kind: str, medium: int, names: Sequence[str]) -> list[torch.Tensor]:
        path = self._file(kind, medium)
        try:
            with safe_open(os.fspath(path), framework="pt") as file:
                return [file.get_tensor(name) for name in names]
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"{path} is missing, damaged or of other captions ({error}): remove it, and the "
                "next run keeps its taps anew."
            ) from error


def digest_of(rows: Sequence[Any]) -> str:
    """SHA-256 of plain values in their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json_text(row).encode() + b"\n")
    return digest.hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."
