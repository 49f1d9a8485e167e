"""What the data sets of texts beside features share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.utils import is_abs

from ...structures.vl_tasks import vl_task
from ..feature_stores import open_features
from ..readers import require_file, require_text


class BaseFeatureDataset(BaseDataset):
    """Items of one task: a text that is read beside features of pictures or videos.

    Every item has ``text``, what is read; ``features``, (I, N, D) float32, of I pictures; and
    ``task``. A training item has ``target``, what is to be written, and ``target_weight``; a test
    item what its metric needs, where the file has it.

    Features are looked for when the annotations are read: one that is missing is an error then.

    Args:
        ann_file: Annotation file or files of the split, absolute or relative to ``data_root``.
        features: Where the features are: ``dict(type=..., root=..., shape=...)``, see
            :func:`~uniadapter.datasets.feature_stores.open_features`.
        task: Name of the task, one of :attr:`TASKS`.
        prefix: What names the task in the text: ``False``, nothing; ``True``, what the task is
            called there in VL-Adapter (``'vqa: '``, but ``'gpa: '`` for GQA); or a text of your
            own. Defaults to False.
        **kwargs: Those of mmengine's ``BaseDataset``: ``data_root``, ``pipeline``, ``test_mode``,
            ``indices``, ``lazy_init`` ...

    Raises:
        ValueError: For an option outside its set, or annotations that are incomplete or don't fit;
            the message names file, position and key.
        FileNotFoundError: When a file, the folder of features or one of them does not exist.
    """

    #: Tasks that a data set of this kind may be of.
    TASKS: tuple[str, ...] = ()

    def __init__(
        self,
        ann_file: str | Sequence[str],
        features: dict[str, Any],
        task: str,
        prefix: bool | str = False,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        self.task = vl_task(task, name, self.TASKS)
        if not isinstance(prefix, bool | str):
            raise ValueError(f"{name}.prefix={prefix!r} must be True, False or a text.")
        self.prefix = (self.task.prefix if prefix else "") if isinstance(prefix, bool) else prefix
        self.files = [ann_file] if isinstance(ann_file, str) else list(ann_file)
        if not self.files or not all(self.files):
            raise ValueError(f"{name}: ann_file is empty: name at least one file.")
        for option in ("data_prefix", "filter_cfg"):
            if kwargs.get(option) is not None:
                raise ValueError(
                    f"{name}.{option}={kwargs[option]!r} is read by nothing: features.root names "
                    "the folder of the features, and no item is left out."
                )
            kwargs.pop(option, None)
        indices = kwargs.get("indices")
        if indices is not None and (indices == 0 or (not isinstance(indices, int) and not indices)):
            raise ValueError(f"{name}: indices = {indices!r} leaves no item; use None for all.")
        self.feature_cfg = features
        super().__init__(ann_file="", data_prefix={}, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        self.files = [self._joined(path) for path in self.files]

    def _joined(self, path: str) -> str:
        """A file, relative to ``data_root`` where it is not absolute."""
        absolute = not path or not self.data_root or is_abs(path)
        return path if absolute else f"{self.data_root.rstrip('/')}/{path}"

    @property
    def split_name(self) -> str:
        """The annotation files, for messages."""
        return " + ".join(self.files)

    @abstractmethod
    def items_of(self, path: str) -> Iterator[dict[str, Any]]:
        """Read one annotation file.

        Args:
            path: The file, which exists.

        Yields:
            Items with ``images``, the names of their features, ``where``, file and position, and
            whatever :meth:`complete` makes an item of.
        """

    def load_data_list(self) -> list[dict]:
        """Return the items of all files, in their order."""
        self.store = open_features(self.feature_cfg, self.data_root)
        paths = [require_file(path, "ann_file") for path in self.files]
        items = [item for path in paths for item in self.items_of(path)]
        if not items:
            raise ValueError(
                f"{self.split_name}: no item was found; is it the right file and complete?"
            )
        self.store.require((name for item in items for name in item["images"]), self.split_name)
        for item in items:
            del item["where"]
        return items

    def names(self) -> list[str]:
        """Return the names of all pictures or videos, once each."""
        infos = (self.get_data_info(index) for index in range(len(self)))
        return list(dict.fromkeys(name for info in infos for name in info["images"]))

    def complete(self, item: dict[str, Any]) -> dict[str, Any]:
        """Add to an item what is made when it is asked for.

        Args:
            item: One of :meth:`items_of`, a copy.

        Returns:
            The item with ``text`` and, in training, ``target`` and ``target_weight``.
        """
        return item

    def fit(self, features: np.ndarray) -> np.ndarray:
        """Bring the features of one picture or video, (N, D), to the number the model reads."""
        return features

    def prepare_data(self, idx: int) -> Any:
        """Return item ``idx`` after the pipeline.

        Raises:
            FileNotFoundError: If features are gone since the annotations were read.
            ValueError: If they can't be read or don't fit.
        """
        item = self.complete({**self.get_data_info(idx), "task": self.task.name})
        found = [self.fit(self.store.read(name)) for name in item["images"]]
        if any(one.shape != found[0].shape for one in found):
            places = [self.store.place(name) for name in item["images"]]
            raise ValueError(
                f"{' and '.join(places)}: features of shapes {[one.shape for one in found]} in one "
                "item; extract them alike."
            )
        item["features"] = np.stack(found)
        return self.pipeline(item)


def whole_text(entry: Any, key: str, where: str) -> str:
    """Return ``entry[key]``, a string that is not blank, as it is written.

    Args:
        entry: One annotation.
        key: Key to read.
        where: File and position, for the error.

    Raises:
        ValueError: When the entry is not a mapping, or the value is absent, no string or blank.
    """
    require_text(entry, key, where)
    return str(entry[key])


class Once:
    """Sees that every identifier of a split stands in it once.

    Args:
        key: What identifiers are called in the files.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self._seen: dict[int | str, str] = {}

    def check(self, value: int | str, where: str) -> None:
        """Take note of an identifier.

        Args:
            value: The identifier.
            where: File and position.

        Raises:
            ValueError: If it was there before.
        """
        first = self._seen.setdefault(value, where)
        if first is not where:
            raise ValueError(
                f"{where}: {self.key} {value!r} stands at {first} too; every entry needs an "
                "identifier of its own."
            )


def refuse_some(items: Sequence[dict[str, Any]], key: str, what: str, name: str) -> None:
    """See that all items of a split have a truth, or none.

    Args:
        items: The items, with ``where``.
        key: The truth's key in an item.
        what: What it is called in the files, for the error.
        name: The files.

    Raises:
        ValueError: If some have it and others not.
    """
    without = [item for item in items if key not in item]
    if without and len(without) < len(items):
        raise ValueError(
            f"{name}: {len(without)} of {len(items)} entries have no {what!r}, the first at "
            f"{without[0]['where']}; give one to all, or to none of a split to submit."
        )
