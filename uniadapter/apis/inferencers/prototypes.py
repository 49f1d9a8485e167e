"""What queries are compared with: media or texts of a folder, a list, a data set or its loader."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from uniadapter.datasets import BaseMediaDataset, MediaError
from uniadapter.datasets.media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from uniadapter.datasets.readers import read_text_lines
from uniadapter.registry import DATASETS

from ..inputs import InputReader
from .base import alike, held, media_facts, packed

ON_ERROR = ("raise", "skip")


@dataclass
class MediaPrototype:
    """Media to be found.

    Attributes:
        size: How many there are.
        batches: Gives them as the data loader of a test does.
        frames: Gives the frames (N, 3, H, W) of one, by its number.
        files: Name and path of each, where all are files, by which a cache knows them; else None.
        transforms: What prepares them, in words, for a cache.
    """

    size: int
    batches: Callable[[], Iterator[dict[str, Any]]]
    frames: Callable[[int], Tensor]
    files: list[tuple[str, str]] | None = None
    transforms: list[str] = field(default_factory=list)


@dataclass
class MediaSource:
    """How an inferencer reads the media of its prototype.

    Attributes:
        reader: Of the model's config.
        pictures: Whether they are pictures rather than videos.
        batch_size: Media encoded at once.
        padded: Whether the model takes media of different numbers of frames at once.
        on_error: ``'raise'`` or ``'skip'``: a medium that can't be read.
    """

    reader: InputReader
    pictures: bool
    batch_size: int
    padded: bool = False
    on_error: str = "raise"

    def __post_init__(self) -> None:
        if self.on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {ON_ERROR}, got {self.on_error!r}.")
        if self.batch_size < 1:
            raise ValueError(f"prepare_batch_size is at least 1, got {self.batch_size}.")

    def read(self, medium: Any) -> Tensor:
        """Frames of a medium."""
        reader = self.reader
        return reader.image_frames(medium) if self.pictures else reader.video_frames(medium)

    def open(self, prototype: Any) -> MediaPrototype:
        """The media of a folder, a list, a data set, its config or a data loader.

        Raises:
            FileNotFoundError: If a folder does not exist.
            ValueError: If there are no media, or the prototype is of another kind.
        """
        if isinstance(prototype, str | Path):
            return self._of_list(list_media(prototype, self.pictures), Path(prototype))
        if isinstance(prototype, Mapping):
            prototype = dataset_of(prototype, self.reader)
        if isinstance(prototype, DataLoader):
            return self._of_dataset(prototype.dataset, prototype)
        if isinstance(prototype, Dataset):
            return self._of_dataset(prototype, None)
        if isinstance(prototype, list | tuple):
            return self._of_list([held(medium) for medium in prototype], None)
        raise ValueError(
            "A prototype of media is a folder, a list of media, a data set, its config or a "
            f"DataLoader, got {type(prototype).__name__}."
        )

    def _of_list(self, media: list, root: Path | None) -> MediaPrototype:
        if not media:
            raise ValueError("The prototype is empty: there are no media to be found.")
        known = [media_facts(medium, index) for index, medium in enumerate(media)]
        if root is not None:
            for facts in known:
                facts["video_id"] = str(Path(facts["media_path"]).relative_to(root))

        def batches() -> Iterator[dict[str, Any]]:
            items = (self._item(*pair) for pair in zip(media, known, strict=True))
            yield from map(pseudo_collate, alike(items, self.batch_size, self.padded))

        local = all(isinstance(medium, str | Path) for medium in media)
        files = [(facts["video_id"], facts["media_path"]) for facts in known] if local else None
        transforms = [repr(step) for step in self.reader.transforms]
        return MediaPrototype(
            len(media), batches, lambda index: self.read(media[index]), files, transforms
        )

    def _item(self, medium: Any, known: dict[str, Any]) -> dict[str, Any]:
        """A medium, or, with ``on_error='skip'``, word of one that can't be read."""
        try:
            return packed(self.read(medium), known, texts=[])
        except MediaError:
            if self.on_error == "raise":
                raise
        item = packed(None, known, texts=[])
        item["data_samples"].set_metainfo({"skipped": True})
        return item

    def _of_dataset(self, dataset: Any, loader: DataLoader | None) -> MediaPrototype:
        if not len(dataset):
            raise ValueError(f"The prototype, a {type(dataset).__name__}, is empty.")
        files: list[tuple[str, str]] | None = None
        transforms: list[str] = []
        if isinstance(dataset, BaseMediaDataset):
            if not dataset.test_mode:
                raise ValueError(
                    f"The prototype {dataset.split_name} gives a medium for every caption: set its "
                    "test_mode=True."
                )
            files = [(str(m["video_id"]), str(m["media_path"])) for m in dataset.media()]
            transforms = [repr(step) for step in dataset.pipeline.transforms]
        if loader is None:
            loader = DataLoader(
                dataset, batch_size=self.batch_size, shuffle=False, collate_fn=pseudo_collate
            )
        shuffles = getattr(loader.sampler, "shuffle", isinstance(loader.sampler, RandomSampler))
        if shuffles:
            raise ValueError(
                "The prototype's DataLoader shuffles: places in the prototype would mean nothing. "
                "Set shuffle=False."
            )
        return MediaPrototype(
            len(dataset),
            lambda: iter(loader),
            lambda index: dataset[index]["inputs"],
            files,
            transforms,
        )


def warn_of(skipped: Sequence[str], size: int) -> None:
    """Log which media of a prototype of some size are left out."""
    if skipped:
        print_log(
            f"{len(skipped)} of {size} media of the prototype can't be read and are left out: "
            f"{', '.join(skipped)}",
            "current",
            logging.WARNING,
        )


def dataset_of(config: Mapping[str, Any], reader: InputReader) -> Any:
    """The data set of a config, tested on and prepared as the model's own unless it says else."""
    defaults = {"test_mode": True, "pipeline": reader.transforms}
    return DATASETS.build({**defaults, **config})


def list_media(folder: str | Path, pictures: bool) -> list[str]:
    """Paths of the media in a folder and those below it, sorted.

    Args:
        folder: The folder.
        pictures: List pictures; else videos and folders that hold pictures alone, the frames of a
            video.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If nothing in it is such a medium.
    """
    root = Path(folder)
    if not root.is_dir():
        what = "is a file; in a list it is a medium" if root.exists() else "does not exist"
        raise FileNotFoundError(f"The prototype's folder {root} {what}.")
    wanted = IMAGE_EXTENSIONS if pictures else VIDEO_EXTENSIONS
    found: list[str] = []
    stills = 0
    above: dict[str, set[str]] = {}
    for place, below, names in os.walk(root, followlinks=True):
        # A link that leads back to a folder around it would never end.
        around = above.get(os.path.dirname(place), set()) | {os.path.realpath(place)}
        above[place] = around
        below[:] = sorted(
            name
            for name in below
            if not name.startswith(".")
            and os.path.realpath(os.path.join(place, name)) not in around
        )
        kinds = {name: Path(name).suffix.lower() for name in names if not name.startswith(".")}
        media = [name for name, kind in kinds.items() if kind in wanted]
        others = sum(kind in IMAGE_EXTENSIONS for kind in kinds.values())
        stills += others
        if not pictures and others and not media and not below and Path(place) != root:
            found.append(place)
        found += [os.path.join(place, name) for name in media]
    if found:
        return sorted(found)
    hint = ""
    if not pictures and stills:
        hint = (
            f", but {stills} pictures; if they are the frames of one video, name the folder in a "
            "list; if they are to be found themselves, take TextToImageRetrievalInferencer"
        )
    kind = "pictures" if pictures else "videos"
    raise ValueError(f"The prototype's folder {root} is empty: it holds no {kind}{hint}.")


@dataclass
class TextPrototype:
    """Texts to be found.

    Attributes:
        texts: As they were given.
        cleaned: As the model's test cleans them.
        facts: What is known of each beside its text.
    """

    texts: list[str]
    cleaned: list[str]
    facts: list[dict[str, Any]]


def open_texts(prototype: Any, reader: InputReader) -> TextPrototype:
    """The texts of a file, a list, a data set, its config or a data loader.

    Args:
        prototype: A text file of one text a line, a list of texts, or a retrieval data set, whose
            captions are taken without a look at its media.
        reader: Of the model's config.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If there are no texts, one is blank, or the prototype is of another kind.
    """
    if isinstance(prototype, DataLoader):
        prototype = prototype.dataset
    if isinstance(prototype, Mapping):
        prototype = dataset_of(prototype, reader)
    if isinstance(prototype, Dataset):
        return _captions_of(prototype)
    if isinstance(prototype, str | Path):
        texts = read_text_lines(prototype)
    elif isinstance(prototype, Sequence) and all(isinstance(text, str) for text in prototype):
        texts = list(prototype)
    else:
        raise ValueError(
            "A prototype of texts is a text file, a list of texts, a retrieval data set, its "
            f"config or a DataLoader, got {type(prototype).__name__}."
        )
    if not texts:
        name = f"{prototype}" if isinstance(prototype, str | Path) else "The prototype"
        raise ValueError(f"{name} is empty: there are no texts to be found.")
    return TextPrototype(texts, reader.read_text(texts), [{} for _ in texts])


def _captions_of(dataset: Any) -> TextPrototype:
    """The captions of a test split."""
    found = TextPrototype([], [], [])
    for index in range(len(dataset)):
        info = dataset.get_data_info(index) if isinstance(dataset, BaseMediaDataset) else {}
        if not info.get("texts"):
            raise ValueError(
                f"The prototype, a {type(dataset).__name__}, has an item without 'texts': captions "
                "come from a retrieval data set with test_mode=True."
            )
        results = {"texts": list(info["texts"])}
        for step in dataset.pipeline.transforms:
            if getattr(step, "of_text", False):
                results = step(results)
        found.texts += info["texts"]
        found.cleaned += results["texts"]
        known = {key: info[key] for key in ("video_id", "media_path")}
        found.facts += [known for _ in info["texts"]]
    return found
