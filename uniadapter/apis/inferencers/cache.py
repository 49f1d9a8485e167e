"""The features of a prototype on disk, bound to the weights, the transforms and the media."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import ConfigDict
from safetensors import SafetensorError, safe_open
from torch import Tensor

from uniadapter.checkpoints.files import write
from uniadapter.checkpoints.state import (
    KEPT_ADAPTERS,
    backbone_fingerprint,
    trained_state_dict,
    weight_names,
)
from uniadapter.retrieval import DiskTokens, Gallery, Medium, RetrievalOptions, Texts
from uniadapter.utils.json_files import parse_json
from uniadapter.utils.safe_folders import check_place
from uniadapter.utils.safe_io import to_plain, what_it_is
from uniadapter.utils.tensors import as_bytes

_KEY = "uniadapter_prototype"
#: Keys of a model's config that change no feature.
_IDLE = ("pretrained", "adapter", "fast", "prefix_cache", "grad_checkpointing")
_FACTS = {
    "backbone": "the backbone's weights",
    "adapter": "the adapter, its options and other weights outside of the towers",
    "model": "the model's config",
    "run": "how the model runs",
    "transforms": "the transforms",
    "items": "what is in the prototype",
}


def binding_of(
    model: Any, options: RetrievalOptions, transforms: list[str], items: Any
) -> dict[str, Any]:
    """What features depend on, each part as a digest.

    Args:
        model: The model.
        options: How it is run.
        transforms: What prepares the items.
        items: What identifies the items, plain.
    """
    config = {k: v for k, v in ConfigDict(model.cfg.model).to_dict().items() if k not in _IDLE}
    run = [options.gallery_dtype, options.amp_dtype, options.shortlisted > 0, model.training]
    run.append(str(next(model.parameters()).dtype))
    return {
        "backbone": backbone_fingerprint(model),
        "adapter": _adapter_fingerprint(model),
        "model": _digest(to_plain_text(config)),
        "run": _digest(to_plain_text(run)),
        "transforms": _digest(to_plain_text(transforms)),
        "items": _digest(to_plain_text(items)),
    }


def to_plain_text(value: Any) -> bytes:
    """Any value as JSON, what is not plain by its name; the same for equal values."""
    return json.dumps(value, sort_keys=True, default=str).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _adapter_fingerprint(model: Any) -> str:
    """SHA-256 over what :func:`backbone_fingerprint` leaves out."""
    adapter = model.adapter
    said = None if adapter is None else [adapter.method, to_plain(adapter.options)]
    digest = hashlib.sha256(to_plain_text(said))
    towers = tuple(f"{name}." for name in model.towers())
    rest = {name for name in weight_names(model) if not name.startswith(towers)}
    rest |= {*trained_state_dict(model), "visual.pos_embed"}
    state = model.state_dict()
    for name in sorted(rest & set(state)):
        digest.update(f"{name}{tuple(state[name].shape)}".encode())
        digest.update(as_bytes(state[name].detach().to("cpu", torch.float32)).numpy().data)
    return digest.hexdigest()


def state_of(model: Any) -> tuple:
    """What tells whether a model's weights were changed, or its adapter, without reading them."""
    adapter = model.adapter
    enabled = None if adapter is None else adapter.places.enabled
    # Adapters that are kept beside the active one play no part.
    tensors = sorted(
        (tensor.data_ptr(), tensor._version)
        for name, tensor in model.named_parameters()
        if not name.startswith(f"{KEPT_ADAPTERS}.")
    )
    return (model.active, enabled, *tensors)


def file_stamps(files: list[tuple[str, str]]) -> list[list[Any]]:
    """Name, size and time of change of files, or of all that is in folders of frames."""
    return [[name, *_stamp(path)] for name, path in files]


def _stamp(path: str) -> list[Any]:
    if os.path.isdir(path):
        inside = sorted(os.scandir(path), key=lambda entry: entry.name)
        return [[e.name, e.stat().st_size, e.stat().st_mtime_ns] for e in inside]
    if not os.path.exists(path):
        return ["missing"]
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns]


class _CacheError(ValueError):
    """What is wrong with the file, in words."""


class PrototypeCache:
    """One file of a prototype's features.

    Args:
        path (str | Path): The file, ending in ``.safetensors``.
        rebuild (bool): Whether one that belongs to something else is made anew rather than refused.
    """

    def __init__(self, path: str | Path, rebuild: bool = False) -> None:
        self.path, self.rebuild = Path(path), rebuild
        if self.path.suffix != ".safetensors":
            raise ValueError(f"prototype_cache={str(path)!r} must end in .safetensors.")
        if self.path.is_dir():
            raise ValueError(f"prototype_cache={str(path)!r} is a folder: name a file.")

    @contextmanager
    def _opened(self, binding: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]] | None]:
        """The file with its facts, where it is there and belongs to what is given; None otherwise.

        It is one file to the end, whoever puts another one under its name meanwhile.

        Raises:
            ValueError: If it belongs to something else and is not to be made anew, is damaged or
                is no such file.
            WriteError: If it has to be written, and its folder is not to be written to.
        """
        if not self.path.is_file():
            # Before hours of encoding, not behind them.
            check_place(self.path)
            yield None
            return
        try:
            with safe_open(self.path, "pt") as file:
                head = self._head(file)
                belongs = self._belongs(head["binding"], binding)
                if not belongs:
                    check_place(self.path)
                yield (file, head) if belongs else None
        except _CacheError:
            raise
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            what = what_it_is(self.path) or f"is damaged ({error})"
            raise _CacheError(f"prototype_cache={str(self.path)!r} {what}: remove it.") from error

    def _head(self, file: Any) -> dict[str, Any]:
        head = (file.metadata() or {}).get(_KEY)
        if head is None:
            raise _CacheError(
                f"prototype_cache={str(self.path)!r} is no file of a prototype's features, and is "
                "not overwritten: name another one."
            )
        content: dict[str, Any] = parse_json(head)
        return content

    def _belongs(self, found: dict[str, Any], binding: dict[str, Any]) -> bool:
        wrong = [_FACTS.get(key, key) for key in binding if found.get(key) != binding[key]]
        if not wrong:
            return True
        if self.rebuild:
            return False
        raise _CacheError(
            f"prototype_cache={str(self.path)!r} was made with another state of: "
            f"{', '.join(wrong)}. Name another file, or set rebuild_cache=True to write it anew."
        )

    def save_media(self, gallery: Gallery, binding: dict[str, Any]) -> None:
        """Write what is known of media."""
        tensors = {
            "features": gallery.media_features,
            "frame_cls": gallery.own_frame_cls,
            "frame_features": gallery.own_frame_features,
        }
        if len(gallery.own_tokens):
            tensors["tokens"] = torch.stack(list(gallery.own_tokens))
        known = [_written(medium) for medium in gallery.media]
        skipped = [_written(medium) for medium in gallery.skipped]
        self._write(tensors, {"binding": binding, "media": known, "skipped": skipped})

    def load_media(
        self, binding: dict[str, Any], tokens: list[Tensor] | DiskTokens
    ) -> Gallery | None:
        """Media as :meth:`save_media` got them, their tokens in the given place.

        Returns:
            None if there are none, or of something else that is to be made anew.

        Raises:
            ValueError: If the file belongs to something else, is damaged or is no such file.
        """
        with self._opened(binding) as found:
            if found is None:
                return None
            file, head = found
            media = [_read(medium) for medium in head["media"]]
            skipped = [_read(medium) for medium in head["skipped"]]
            names = ("features", "frame_cls", "frame_features")
            features, cls, frames = map(file.get_tensor, names)
            if not len(media) == len(features) == len(cls) == len(frames):
                raise ValueError("it has features of another number of media")
            if "tokens" in file.keys():  # noqa: SIM118
                rows = file.get_slice("tokens")
                tokens.extend(rows[row] for row in range(rows.get_shape()[0]))
        none = torch.empty(0)
        return Gallery(
            media=media,
            skipped=skipped,
            text_media=torch.empty(0, dtype=torch.long),
            media_features=features,
            text_features=none,
            text_cls=none,
            input_ids=none,
            attention_mask=none,
            own_media=torch.arange(len(media)),
            own_tokens=tokens,
            own_frame_cls=cls,
            own_frame_features=frames,
        )

    def save_texts(self, texts: Texts, binding: dict[str, Any]) -> None:
        """Write what is known of texts."""
        self._write(dict(vars(texts)), {"binding": binding})

    def load_texts(self, binding: dict[str, Any]) -> Texts | None:
        """Texts as :meth:`save_texts` got them, see :meth:`load_media`."""
        with self._opened(binding) as found:
            if found is None:
                return None
            file, _ = found
            return Texts(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118

    def _write(self, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
        write(self.path, tensors, metadata={_KEY: json.dumps(head)})


def _written(medium: Medium) -> dict[str, Any]:
    return {**asdict(medium), "content": medium.content.hex()}


def _read(entry: dict[str, Any]) -> Medium:
    return Medium(**{**entry, "content": bytes.fromhex(entry["content"])})
