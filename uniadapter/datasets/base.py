"""What all datasets of media share: options, unreadable media, and the items of retrieval."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.utils import is_abs

from ..structures import META_KEYS, MultimodalSample
from .media import VIDEO_EXTENSIONS, MediaError, MediaFolder
from .tap_store import TapStore

_ON_ERROR = ("raise", "skip")
_REMEDY = "tools/misc/verify_dataset.py CONFIG lists every unreadable file."


class BaseMediaDataset(BaseDataset):
    """Items that each have one medium: a video, or an image as a video of one frame.

    A medium that can't be read is, in training, reported once by name and replaced by another
    sample drawn at random, at most ``max_refetch`` times in a row; the sample that takes its place
    carries the failed paths in ``replaced``. In testing it is an error that names the file; with
    ``on_error='skip'`` the item comes through with ``inputs=None`` and ``skipped=True`` instead, so
    that the evaluation can list it.

    Args:
        ann_file: Annotation file, absolute or relative to ``data_root``.
        data_root: Folder the other paths are relative to.
        data_prefix: ``dict(media=folder)``: where the media are.
        pipeline: Transforms, as configs or callables.
        test_mode: The items of a test set; nothing is replaced.
        extensions: Extensions tried for a medium named without one, in order of preference.
        on_error: ``'raise'`` or ``'skip'``: an unreadable medium in testing.
        max_refetch: Replacements tried in a row for one training item.
        indices: Keep the first (int) or these (sequence) items only.
        metainfo: Free facts on the dataset.
        lazy_init: Leave reading the annotations to ``full_init()``.

    Raises:
        ValueError: For an option outside its set, an annotation that is incomplete, an empty
            text, or a split without items; the message names file, position and key.
        FileNotFoundError: When the annotation file or the folder of media does not exist.
    """

    #: Keys of ``data_prefix``, the one that must be there first.
    PREFIXES: tuple[str, ...] = ("media",)

    #: Where states of all items are, in whose place nothing is decoded; set by ``TapStoreHook``.
    taps: TapStore | None = None

    def __init__(
        self,
        ann_file: str = "",
        data_root: str = "",
        data_prefix: Mapping[str, str] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        extensions: Sequence[str] = VIDEO_EXTENSIONS,
        on_error: str = "raise",
        max_refetch: int = 10,
        indices: int | Sequence[int] | None = None,
        metainfo: Mapping[str, Any] | None = None,
        lazy_init: bool = False,
    ) -> None:
        name = type(self).__name__
        prefix = dict(data_prefix or {"media": ""})
        if self.PREFIXES[0] not in prefix or not set(prefix) <= set(self.PREFIXES):
            keys = " and ".join(repr(key) for key in self.PREFIXES)
            raise ValueError(f"{name}: data_prefix takes the key {keys}, got {list(prefix)}.")
        if on_error not in _ON_ERROR:
            raise ValueError(f"{name}: on_error must be one of {_ON_ERROR}, got {on_error!r}.")
        if isinstance(extensions, str):
            raise ValueError(
                f"{name}: extensions takes a list such as ['.mp4'], got {extensions!r}."
            )
        if max_refetch < 0:
            raise ValueError(f"{name}: max_refetch must be at least 0, got {max_refetch}.")
        if indices is not None and (indices == 0 or (not isinstance(indices, int) and not indices)):
            raise ValueError(f"{name}: indices = {indices!r} leaves no item; use None for all.")
        self.extensions = tuple(extensions)
        self.on_error = on_error
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=prefix,
            indices=indices,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    @property
    def split_name(self) -> str:
        """The file that decides which media are in the split, for messages."""
        return str(self.ann_file)

    def _joined(self, path: str) -> str:
        """A further annotation file, relative to ``data_root`` where it is not absolute."""
        absolute = not path or not self.data_root or is_abs(path)
        return path if absolute else f"{self.data_root.rstrip('/')}/{path}"

    def _find_media(self, names: Iterable[str], prefix: str = "media") -> dict[str, dict]:
        """Number the media in order and find their files.

        Args:
            names: Names of the media, repeats allowed.
            prefix: Key of ``data_prefix`` whose folder holds them.

        Returns:
            ``media_path``, ``media_id`` and ``video_id`` by name.

        Raises:
            ValueError: When ``data_prefix`` lacks the key.
        """
        if prefix not in self.data_prefix:
            raise ValueError(
                f"{self.split_name}: data_prefix[{prefix!r}] is missing: name the folder of these "
                "media."
            )
        folder = MediaFolder(self.data_prefix[prefix] or ".", self.extensions)
        return {
            name: {"media_path": folder.resolve(name), "media_id": index, "video_id": name}
            for index, name in enumerate(dict.fromkeys(names))
        }

    def _require_items(self, items: Sequence, what: str) -> None:
        if not items:
            raise ValueError(
                f"{self.split_name}: zero-length split, no {what} was found; check that it is the "
                "right file and complete."
            )

    def full_init(self) -> None:
        """Read the annotations once and prepare the flags that keep warnings to one a file."""
        if self._fully_initialized:
            return
        super().full_init()
        # Shared memory, so that a file is reported once however many workers meet it. There are
        # never more media than items.
        self._warned = torch.zeros(len(self), dtype=torch.uint8).share_memory_()

    def _get_unserialized_subset(self, indices: Sequence[int] | int) -> list[dict]:
        """Cut the items and number the media that remain from zero again."""
        try:
            subset = super()._get_unserialized_subset(indices)
        except IndexError as error:
            raise ValueError(
                f"{self.split_name}: indices reach beyond the {len(self.data_list)} items."
            ) from error
        numbers: dict[int, int] = {}
        for item in subset:
            item["media_id"] = numbers.setdefault(item["media_id"], len(numbers))
        return subset

    def media(self) -> list[dict[str, Any]]:
        """Return ``media_path``, ``media_id`` and ``video_id`` of every medium, once each."""
        found: dict[int, dict[str, Any]] = {}
        for index in range(len(self)):
            info = self.get_data_info(index)
            keys = ("media_path", "media_id", "video_id")
            found.setdefault(info["media_id"], {key: info[key] for key in keys})
        return list(found.values())

    def __getitem__(self, idx: int) -> dict:
        """Return item ``idx`` after the pipeline; see the class for unreadable media.

        Raises:
            MediaError: In testing with ``on_error='raise'``, or in training when ``max_refetch``
                replacements could not be read either.
        """
        if not self._fully_initialized:
            self.full_init()
        return self._test_item(idx) if self.test_mode else self._train_item(idx)

    def _test_item(self, idx: int) -> dict:
        info = self.get_data_info(idx)
        try:
            return self.pipeline(info)
        except MediaError as error:
            if self.on_error == "raise":
                raise MediaError(
                    error.path,
                    f"{error.reason}. {_REMEDY} dataset.on_error='skip' leaves such media out and "
                    "lists them in the result.",
                    error.kind,
                ) from error
            self._warn_once(info, error, "skipped")
        facts = {key: info[key] for key in META_KEYS if key in info}
        sample = MultimodalSample(metainfo={**facts, "replaced": [], "skipped": True})
        return {"inputs": None, "data_samples": sample}

    def _train_item(self, idx: int) -> dict:
        replaced: list[str] = []
        for _ in range(self.max_refetch + 1):
            info = self.get_data_info(idx)
            info["replaced"] = list(replaced)
            try:
                return self.pipeline(info) if self.taps is None else self.taps.item(info)
            except MediaError as error:
                self._warn_once(info, error, "replaced by another sample")
                replaced.append(error.path)
                last = error
            idx = self._rand_another()
        raise MediaError(
            last.path,
            f"{last.reason}. {len(replaced)} media in a row could not be read (max_refetch = "
            f"{self.max_refetch}). {_REMEDY}",
            last.kind,
        ) from last

    def _warn_once(self, info: dict, error: MediaError, action: str) -> None:
        if self._warned[info["media_id"]]:
            return
        self._warned[info["media_id"]] = 1
        print_log(f"Unreadable medium {action}: {error} ({error.kind})", "current", logging.WARNING)


class BaseRetrievalDataset(BaseMediaDataset):
    """Media with captions, for retrieval in both directions.

    An item of a training set is one caption with its medium; an item of a test set is one medium
    with all its captions (several rows that name the same medium are merged).

    See :class:`BaseMediaDataset` for the arguments and for unreadable media.
    """

    METAINFO: dict[str, Any] = {"task": "retrieval"}

    @abstractmethod
    def load_captions(self) -> Iterable[tuple[str, str]]:
        """Read the annotations.

        Returns:
            (name of the medium, caption) in the order of the file, validated.
        """

    def load_data_list(self) -> list[dict]:
        """Return the items: one a caption in training, one a medium in testing."""
        captions: dict[str, list[str]] = {}
        rows: list[tuple[str, str]] = []
        for name, caption in self.load_captions():
            captions.setdefault(name, []).append(caption)
            rows.append((name, caption))
        self._require_items(rows, "caption")
        media = self._find_media(captions)
        if self.test_mode:
            return [{**media[name], "texts": texts} for name, texts in captions.items()]
        return [{**media[name], "text": caption} for name, caption in rows]
