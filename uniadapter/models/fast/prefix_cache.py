"""What the frozen lower visual layers make of a frame, kept on disk.

An entry belongs to the content of a frame, the weights it went through and the arithmetic they
were computed in. All of that is its name, so a change of any of it finds nothing, rather than
something old.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from safetensors.torch import load, save

from uniadapter.utils.safe_io import atomic_write
from uniadapter.utils.tensors import as_bytes

from ..backbones.base import Staged
from . import prefix_identity

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_FORMAT = 2
_SUFFIX = ".prefix"
_DIGEST = hashlib.sha256().digest_size
_REPORT_EVERY = 10_000


class PrefixCache:
    """Tokens of the wholly frozen visual layers by frame, in files.

    Kept are the tokens before the first layer that has a trained term. What of that layer is
    frozen is computed anew: with its input and its output on disk each entry would be twice as
    large, to save the one layer.

    Args:
        dir (str): Folder of the entries; created when the first one is written. Models, runs and
            processes may share it.
        dtype (str): Type on disk. ``'float32'``, the default, is what the towers compute in;
            ``'bfloat16'`` and ``'float16'`` take half the space and round.
        max_gib (float, optional): Add nothing once the folder holds as much. The ranks of a run
            share what is free when each of them writes first.
        train (bool): Use it in training as well. False is for pipelines that augment at random,
            where entries are written and never found again; evaluation reads and writes still.
            Defaults to True.

    Attributes:
        hits (int): Frames that were read, in this process.
        misses (int): Frames that were computed.

    Raises:
        ValueError: If an option is outside its set.
    """

    def __init__(
        self,
        dir: str,
        dtype: str = "float32",
        max_gib: float | None = None,
        train: bool = True,
    ) -> None:
        if not isinstance(dir, str | os.PathLike) or not str(dir):
            raise ValueError(f"model.prefix_cache.dir={dir!r} must name a folder.")
        if dtype not in DTYPES:
            raise ValueError(
                f"model.prefix_cache.dtype={dtype!r} is unknown: choose from {sorted(DTYPES)}."
            )
        if max_gib is not None and not max_gib > 0:
            raise ValueError(f"model.prefix_cache.max_gib={max_gib} must be above 0, or None.")
        if not isinstance(train, bool):
            raise ValueError(f"model.prefix_cache.train={train!r} must be True or False.")
        self.dir = Path(dir)
        self.dtype = dtype
        self.max_gib = max_gib
        self.train = train
        self.hits = self.misses = 0
        self._room: float | None = None
        self._said: set[str] = set()
        self._full = False
        self._known: dict[int, tuple[list[Any], str]] = {}

    @classmethod
    def build(cls, config: Mapping[str, Any] | None) -> PrefixCache | None:
        """Make the cache from the config key ``model.prefix_cache``; None switches it off.

        Raises:
            ValueError: If ``dir`` is missing or a key is unknown.
        """
        if config is None:
            return None
        known = ["dir", "dtype", "max_gib", "train"]
        for key in config:
            if key not in known:
                raise ValueError(f"model.prefix_cache.{key} is unknown: choose from {known}.")
        if "dir" not in config:
            raise ValueError("model.prefix_cache needs the key dir: the folder of its entries.")
        return cls(**config)

    @staticmethod
    def check(layers: int) -> None:
        """Refuse a model in which there is nothing to keep.

        Args:
            layers (int): Leading visual layers that are wholly frozen.

        Raises:
            ValueError: If there is none.
        """
        if not layers:
            raise ValueError(
                "model.prefix_cache would save nothing: the first visual layer already has a "
                "trained term. Set adapter.layers to a range that starts above 1 (as '5-12'; "
                "backbone frozen), or remove model.prefix_cache."
            )

    def usable(self, layers: int, training: bool) -> bool:
        """Whether there is something to keep in this mode.

        Args:
            layers (int): Leading visual layers that are wholly frozen and draw nothing.
            training (bool): Whether the tower is in training mode.

        Raises:
            ValueError: If there is nothing in evaluation either.
        """
        if training and not layers:
            self._warn(
                "draws",
                "model.prefix_cache keeps nothing in training: the first visual layer draws at "
                "random (dropout) or is trained. It serves evaluation alone.",
            )
            return False
        self.check(layers)
        return True

    # Files and digests are nothing to compile, and a trace would take this call's for every call's.
    @torch.compiler.disable
    def __call__(
        self, visual: Staged, images: torch.Tensor, layers: int, every: bool = False
    ) -> torch.Tensor:
        """Read the tokens of images, or compute and keep them.

        Frames that are not kept are computed together, a repeated one once. What is returned was
        rounded to ``dtype`` in either case, so that a run does not depend on which ones were.

        Args:
            visual (Staged): The tower.
            images (Tensor): (B, 3, H, W), normalised.
            layers (int): Layers to run, all of them frozen and with empty sites.
            every (bool): The states of all of them, for methods that read taps. Defaults to False.

        Returns:
            Tensor: Tokens (B, M, D), as :func:`frozen_tokens` returns them, or with ``every`` (B,
            layers + 1, M, D), as :func:`frozen_states`.

        Raises:
            ValueError: If ``layers`` is 0, or a token does not fit ``float16``.
            OSError: If the folder can't be read or written.
        """
        self.check(layers)
        compute = prefix_identity.frozen_states if every else prefix_identity.frozen_tokens
        if not len(images):
            return compute(visual, images, layers)
        keys = self._keys(visual, images, layers, every)
        found = {key: self._read(key) for key in dict.fromkeys(keys)}
        if None in found.values() and not self._full and self._changed_unseen(visual, layers):
            # What was found belongs to the weights before.
            keys = self._keys(visual, images, layers, every)
            found = {key: self._read(key) for key in dict.fromkeys(keys)}
        missing = [key for key, entry in found.items() if entry is None]
        self._count(sum(found[key] is not None for key in keys), len(keys))
        if missing:
            rows = [keys.index(key) for key in missing]
            # All of them: the same tensor, thus the same arithmetic as without the cache.
            part = images if len(rows) == len(images) else images[rows]
            tokens = compute(visual, part, layers)
            if every:
                self._say_size(tokens)
            for key, entry in zip(missing, self._rounded(tokens), strict=True):
                found[key] = (entry, tokens.dtype)
                self._write(key, entry, tokens.dtype)
        entries = [entry for key in keys if (entry := found[key]) is not None]
        stacked = torch.stack([tokens for tokens, _ in entries])
        return stacked.to(images.device).to(entries[0][1])

    def _say_size(self, tokens: torch.Tensor) -> None:
        """Say once how much a frame will take, before the first is written."""
        size = tokens[0].numel() * DTYPES[self.dtype].itemsize / 2**20
        self._say(
            "size",
            f"Prefix cache {self.dir}: a frame takes {size:.2f} MiB, {tuple(tokens.shape[1:])} "
            f"numbers of {self.dtype}.",
        )

    def _keys(
        self, visual: Staged, images: torch.Tensor, layers: int, every: bool = False
    ) -> list[str]:
        """Names of the entries: digests of the circumstances and of each frame's own bytes."""
        device = images.device.type
        autocast = torch.is_autocast_enabled(device)
        plan = prefix_identity.plan(visual, layers)
        circumstances = {
            "format": _FORMAT,
            "backbone": self._fingerprint(visual, layers, plan),
            "tower": plan,
            "layers": layers,
            "frame": list(images.shape[1:]),
            "pixels": str(images.dtype),
            "autocast": str(torch.get_autocast_dtype(device)) if autocast else None,
            "stored": self.dtype,
            # Each of these may round otherwise.
            "device": device,
            "matmul": torch.get_float32_matmul_precision(),
            "torch": torch.__version__,
        }
        if every:
            circumstances["states"] = "every"
        start = hashlib.sha256(json.dumps(circumstances, sort_keys=True).encode())
        keys = []
        for image in images.detach().cpu():
            digest = start.copy()
            digest.update(_bytes(image))
            keys.append(digest.hexdigest())
        return keys

    def refresh(self) -> None:
        """Read the weights again in the next call, since not every change of them can be seen.

        The model calls it whenever it is put in training or evaluation mode, as every epoch,
        validation and test starts.
        """
        self._known.clear()

    def _fingerprint(self, visual: Staged, layers: int, plan: str) -> str:
        """Digest of the tensors below the boundary, taken anew when a change is seen."""
        # Loading, casting, moving and editing in place each change one of these.
        state = [plan] + [
            (name, id(t), t.data_ptr(), t.dtype, 0 if t.is_inference() else t._version)
            for name, t in prefix_identity.tensors(visual, layers)
        ]
        if layers not in self._known or self._known[layers][0] != state:
            self._known[layers] = (state, _content(visual, layers))
        return self._known[layers][1]

    def _changed_unseen(self, visual: Staged, layers: int) -> bool:
        """Whether weights were changed in a way that leaves no trace (through ``.data``)."""
        state, before = self._known[layers]
        self._known[layers] = (state, _content(visual, layers))
        return self._known[layers][1] != before

    def _rounded(self, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens as they are kept, on the CPU."""
        kept = tokens.detach().to(DTYPES[self.dtype])
        if bool(torch.isinf(kept).any()) and not bool(torch.isinf(tokens).any()):
            raise ValueError(
                f"Visual tokens of up to {float(tokens.abs().max()):.3g} do not fit "
                f"model.prefix_cache.dtype={self.dtype!r}: use 'bfloat16' or 'float32'."
            )
        return kept.cpu()

    def _path(self, key: str) -> Path:
        return self.dir / key[:2] / f"{key}{_SUFFIX}"

    def _read(self, key: str) -> tuple[torch.Tensor, torch.dtype] | None:
        """Tokens and the type they were computed in; None where there is no whole entry."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failure(error, f"{path} cannot be read") from error
        if _digest(key, data[_DIGEST:]) != data[:_DIGEST]:
            self._warn(
                "damaged",
                f"{path} is damaged and computed anew, as others of {self.dir} will be without "
                "another warning; check the disk if it happens again.",
            )
            return None
        entry = load(data[_DIGEST:])
        return entry["tokens"], entry["computed"].dtype

    def _write(self, key: str, tokens: torch.Tensor, computed: torch.dtype) -> None:
        # An empty tensor says of which type the tokens were.
        entry = {"tokens": tokens.contiguous(), "computed": torch.empty(0, dtype=computed)}
        payload = save(entry)
        data = _digest(key, payload) + payload
        if not self._take_room(len(data)):
            return
        path = self._path(key)
        try:
            # Unsynced: an entry that a crash of the system cuts off is found out by its digest.
            atomic_write(path, data, sync=False)
        except OSError as error:
            raise self._failure(error, f"{path} cannot be written") from error

    def _take_room(self, size: int) -> bool:
        """Whether an entry of so many bytes may be added, which it then is."""
        if self.max_gib is None:
            return True
        if self._full:
            return False
        if self._room is None:
            self._room = (self.max_gib * 2**30 - _bytes_below(self.dir)) / get_world_size()
        if size > self._room:
            self._full = True
            self._warn(
                "full",
                f"{self.dir} holds model.prefix_cache.max_gib={self.max_gib} GiB (the ranks of a "
                "run share what is left): nothing is added, frames it lacks are computed each "
                "time. Raise max_gib or remove entries that are no longer used.",
            )
            return False
        self._room -= size
        return True

    def _count(self, hits: int, frames: int) -> None:
        before = (self.hits + self.misses) // _REPORT_EVERY
        self.hits += hits
        self.misses += frames - hits
        total = self.hits + self.misses
        if total // _REPORT_EVERY > before:
            print_log(
                f"Prefix cache {self.dir}: {self.hits:,} of {total:,} frames were found.", "current"
            )

    def _failure(self, error: OSError, what: str) -> OSError:
        # Of the kind that belongs to the number.
        return OSError(
            error.errno or 0,
            f"{what} ({error.strerror or error}): model.prefix_cache.dir={str(self.dir)!r} must "
            "be a folder on a disk with room that can be written; name another one, set "
            "model.prefix_cache.max_gib, or remove model.prefix_cache",
        )

    def _warn(self, kind: str, message: str) -> None:
        self._say(kind, message, logging.WARNING)

    def _say(self, kind: str, message: str, level: int = logging.INFO) -> None:
        if kind not in self._said:
            self._said.add(kind)
            print_log(message, "current", level)


def _content(visual: Staged, layers: int) -> str:
    """Digest of all tensors below the boundary."""
    digest = hashlib.sha256()
    for name, tensor in prefix_identity.tensors(visual, layers):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(_bytes(tensor.detach().cpu()))
    return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> memoryview:
    """The content of a tensor on the CPU."""
    return as_bytes(tensor).numpy().data


def _digest(key: str, payload: bytes) -> bytes:
    """Digest that an entry starts with; of its name as well, so that a renamed file is noticed."""
    digest = hashlib.sha256(key.encode())
    digest.update(payload)
    return digest.digest()


def _bytes_below(folder: Path) -> int:
    """Bytes of all files under a folder, which others may be writing to."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total
