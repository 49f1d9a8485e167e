"""Stage one of the retrieval test: what every rank knows of all media and texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from mmengine.dist import all_gather_object
from torch import Tensor, nn

from uniadapter.evaluation.functional import Distinct
from uniadapter.utils.dist import gather_ragged, own_rows
from uniadapter.utils.tensors import as_bytes

from .texts import Texts, encode_parts, kept
from .token_store import DiskTokens, select, trim_freed_memory


@dataclass
class Medium:
    """A medium of the split and its captions.

    Attributes:
        position: Place in the order in which one process would have read the split.
        name: Its name in the annotations.
        path: Where it was read from.
        media_id: Its index in the dataset.
        texts: Its captions.
        skipped: It could not be read, so neither it nor its captions take part.
        content: Digest of its pixels, alike for equal media; empty if it was skipped or comes as
            something else than a tensor: then it equals no other.
    """

    position: int
    name: str
    path: str
    media_id: int
    texts: list[str]
    skipped: bool
    content: bytes


@dataclass
class Gallery:
    """Media and texts of the split in dataset order, alike on every rank but for ``own_*``.

    V media, T texts, v media of this rank, N frames, M tokens a frame, E and D widths. Everything
    is on the CPU, visual tokens perhaps on disk.

    Attributes:
        media: The V media.
        skipped: Media that could not be read.
        text_media: (T,) index of the medium that each text describes.
        media_features: (V, E), normalised.
        text_features: (T, E), normalised.
        text_cls: (T, Dt), states of the texts' first tokens.
        input_ids: (T, L), padded to the longest text.
        attention_mask: (T, L).
        own_media: (v,) indices of the media whose tokens are on this rank.
        own_tokens: For each own medium its visual tokens (N, M, D), in the gallery's dtype.
        own_frame_cls: (v, N, D), states of the frames' first tokens, at least float32.
        own_frame_features: (v, N, E), normalised.
    """

    media: list[Medium]
    skipped: list[Medium]
    text_media: Tensor
    media_features: Tensor
    text_features: Tensor
    text_cls: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    own_media: Tensor
    own_tokens: list[Tensor] | DiskTokens
    own_frame_cls: Tensor
    own_frame_features: Tensor

    def texts(self) -> list[str]:
        """All texts, a medium's captions together, media in order."""
        return [text for medium in self.media for text in medium.texts]

    def media_texts(self) -> list[list[int]]:
        """For each medium the indices of its texts."""
        texts: list[list[int]] = [[] for _ in self.media]
        for text, medium in enumerate(self.text_media.tolist()):
            texts[medium].append(text)
        return texts

    def against(self, texts: Texts) -> Gallery:
        """The same media with other texts, of which nobody knows what they describe.

        Args:
            texts: T texts.

        Returns:
            A gallery whose ``text_media`` is -1, which no score reads.
        """
        return replace(
            self,
            text_media=torch.full((len(texts),), -1),
            text_features=texts.features,
            text_cls=texts.cls,
            input_ids=texts.input_ids,
            attention_mask=texts.attention_mask,
        )

    def folds(self, count: int) -> list[Gallery]:
        """Cut the split, in order, into galleries of their own with the texts of their media.

        A medium that was skipped leaves its place empty: all others are in the fold in which they
        would be with it.

        Args:
            count: Number of folds; their sizes differ by one where it doesn't divide the split.

        Returns:
            The folds; a single one is this gallery.

        Raises:
            ValueError: If all media of a fold were skipped.
        """
        if count == 1:
            return [self]
        size = len(self.media) + len(self.skipped)
        bounds = [fold * size // count for fold in range(count + 1)]
        return [self._fold(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]

    def _fold(self, start: int, stop: int) -> Gallery:
        """The gallery of the media at positions from ``start`` to before ``stop``."""
        skipped = [medium for medium in self.skipped if start <= medium.position < stop]
        inside = torch.tensor([start <= medium.position < stop for medium in self.media])
        if not inside.any():
            raise ValueError(
                f"all media of a fold (numbers {start} to {stop - 1} of the split) were skipped: "
                f"{', '.join(medium.path for medium in skipped)}; mend them or take fewer folds"
            )
        media, texts = inside.nonzero()[:, 0], inside[self.text_media].nonzero()[:, 0]
        fold = self._select(texts, media, self.text_media[texts] - media[0])
        return replace(fold, skipped=skipped)

    def distinct(self) -> tuple[Gallery, Distinct, Distinct]:
        """Leave out copies of texts and of media.

        Returns:
            A gallery without copies, and which of it every text and every medium of this one is.
        """
        words = self.input_ids, self.attention_mask
        texts = Texts(self.text_features, self.text_cls, *words).distinct()
        media = Distinct.of(medium.content or index for index, medium in enumerate(self.media))
        if len(texts.first) == len(texts.kind) and len(media.first) == len(media.kind):
            return self, texts, media
        described = media.kind[self.text_media[texts.first]]
        return self._select(texts.first, media.first, described), texts, media

    def _select(self, texts: Tensor, media: Tensor, text_media: Tensor) -> Gallery:
        """The gallery of some texts (t,) and media (m,), with the new ``text_media`` (t,)."""
        place = torch.full((len(self.media),), -1)
        place[media] = torch.arange(len(media))
        own = (place[self.own_media] >= 0).nonzero()[:, 0]
        return Gallery(
            media=[self.media[medium] for medium in media.tolist()],
            skipped=[],
            text_media=text_media,
            media_features=self.media_features[media],
            text_features=self.text_features[texts],
            text_cls=self.text_cls[texts],
            input_ids=self.input_ids[texts],
            attention_mask=self.attention_mask[texts],
            own_media=place[self.own_media[own]],
            own_tokens=select(self.own_tokens, own.tolist()) if self.own_tokens else [],
            own_frame_cls=self.own_frame_cls[own],
            own_frame_features=self.own_frame_features[own],
        )

    def own_bytes(self) -> int:
        """Memory, or space on disk, that this rank's visual tokens take."""
        if isinstance(self.own_tokens, DiskTokens):
            return self.own_tokens.nbytes
        return sum(tokens.nbytes for tokens in self.own_tokens)


@dataclass
class GalleryEncoder:
    """Encodes the batches of one rank and puts the ranks' results together.

    Args:
        model: The model, with ``encode_visual``, ``encode_text`` and ``data_preprocessor``.
        dtype: Of the stored visual tokens.
        text_batch: Texts encoded at once.
        keep_tokens: Keep the visual tokens; similarity alone doesn't need them.
        tokens: Where they are kept.
        captioned: Encode the media's captions, which all must have; without, none are read.
    """

    model: Any
    dtype: torch.dtype
    text_batch: int
    keep_tokens: bool = True
    tokens: list[Tensor] | DiskTokens = field(default_factory=list)
    captioned: bool = True
    samples: list[Any] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    visual: dict[str, list[Tensor]] = field(default_factory=dict)
    text: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, data_batch: dict[str, Any]) -> list[Any]:
        """Encode one batch as the dataloader gives it.

        Args:
            data_batch: ``inputs`` and ``data_samples``, lists of one entry a medium.

        Returns:
            The batch's samples.

        Raises:
            ValueError: If samples have no captions, or not as many as were tokenised.
        """
        samples = list(data_batch["data_samples"])
        for sample in samples:
            if not self.captioned:
                sample.set_metainfo({"texts": []})
            elif not sample.get("texts"):
                raise ValueError(
                    f"{sample.get('media_path')}: the sample has no 'texts'; retrieval tests need "
                    "a dataset with test_mode=True in val_dataloader/test_dataloader"
                )
        self.samples.extend(samples)
        # What could not be read has no pixels, so the preprocessor must not see it.
        readable = [i for i, sample in enumerate(samples) if not sample.get("skipped", False)]
        if readable:
            self._encode({k: [v[i] for i in readable] for k, v in data_batch.items()})
        return samples

    def _encode(self, data_batch: dict[str, Any]) -> None:
        inputs = self.model.data_preprocessor(data_batch, False)
        captions = sum(len(sample.texts) for sample in inputs["data_samples"])
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        if len(ids) != captions:
            raise ValueError(
                f"the data preprocessor gave {len(ids)} token sequences for {captions} captions; "
                "in testing it must tokenise all texts of every sample, in order"
            )
        # Of models that take padded frames.
        padded = {k: inputs[k] for k in ("frame_mask",) if k in inputs}
        tokens, feature, frame_features = self.model.encode_visual(inputs["pixels"], **padded)
        # While a GPU is at work on them.
        self.contents.extend(_digest(pixels) for pixels in data_batch["inputs"])
        if self.keep_tokens:
            self.tokens.extend(tokens.to("cpu", self.dtype, copy=True).unbind(0))
            trim_freed_memory()
        self._keep(self.visual, feature=feature, frames=frame_features, cls=tokens[:, :, 0])
        for part in encode_parts(self.model, ids, mask, self.text_batch):
            self._keep(self.text, **part)

    @staticmethod
    def _keep(store: dict[str, list[Tensor]], **tensors: Tensor) -> None:
        for name, t in tensors.items():
            store.setdefault(name, []).append(kept(t))

    def finish(self, dataset_size: int) -> Gallery:
        """Put the ranks' parts together; a collective.

        Args:
            dataset_size: Number of media of the split. What a sampler appended beyond it so that
                all ranks have as many samples is left out.

        Raises:
            ValueError: If two samples are the same medium or none could be read.
        """
        own = self._records(dataset_size)
        records = sorted(sum(all_gather_object(own), []), key=lambda m: m.position)
        records = [m for m in records if m.position < dataset_size]
        media = [m for m in records if not m.skipped]
        _check_media(media)
        index = {m.position: i for i, m in enumerate(media)}
        # Rows of this rank's encoded media that are in the gallery, and where.
        encoded = [m for m in own if not m.skipped]
        rows = [row for row, m in enumerate(encoded) if m.position in index]
        own_media = torch.tensor([index[encoded[row].position] for row in rows], dtype=torch.long)
        own_texts, text_rows, text_media = _text_places(media, encoded, index)
        at = torch.tensor(rows, dtype=torch.long)
        visual = {name: torch.cat(parts)[at] for name, parts in self.visual.items()}
        # Masked positions may hold any id, so the padding needs no tokenizer.
        longest = max([0, *(ids.shape[1] for ids in self.text.get("ids", []))])
        longest = int(gather_ragged(torch.tensor([longest])).max())
        text = {
            name: _padded(parts, longest if name in ("ids", "mask") else 0)[text_rows]
            for name, parts in self.text.items()
        }
        text = {k: _gathered(text.get(k), own_texts) for k in ("feature", "cls", "ids", "mask")}
        return Gallery(
            media=media,
            skipped=[m for m in records if m.skipped],
            text_media=text_media,
            media_features=_gathered(visual.get("feature"), own_media),
            text_features=text["feature"],
            text_cls=text["cls"],
            input_ids=text["ids"],
            attention_mask=text["mask"],
            own_media=own_media,
            own_tokens=select(self.tokens, rows) if self.keep_tokens else [],
            own_frame_cls=visual.get("cls", torch.empty(0)),
            own_frame_features=visual.get("frames", torch.empty(0)),
        )

    def _records(self, dataset_size: int) -> list[Medium]:
        positions = own_rows(len(self.samples)).tolist()
        contents = iter(self.contents)
        return [
            Medium(
                position=position,
                name=str(sample.get("video_id")),
                path=str(sample.get("media_path")),
                media_id=int(sample.get("media_id")),
                texts=list(sample.texts),
                skipped=bool(sample.get("skipped", False)),
                content=b"" if sample.get("skipped", False) else next(contents),
            )
            for position, sample in zip(positions, self.samples, strict=True)
        ]


def _digest(pixels: Any) -> bytes:
    """Digest of a medium's shape, type and numbers; empty for what is no tensor."""
    if not isinstance(pixels, Tensor):
        return b""
    digest = hashlib.sha1(f"{tuple(pixels.shape)} {pixels.dtype}".encode(), usedforsecurity=False)
    digest.update(as_bytes(pixels.cpu()).numpy().data)
    return digest.digest()


def _check_media(media: Sequence[Medium]) -> None:
    if not media:
        raise ValueError(
            "no medium of the test split could be encoded: the split is empty or all its media "
            "were skipped; run tools/misc/verify_dataset.py on the config"
        )
    seen: dict[int, Medium] = {}
    for medium in media:
        twin = seen.setdefault(medium.media_id, medium)
        if twin is not medium:
            raise ValueError(
                f"{medium.path}: media_id {medium.media_id} is also that of {twin.path}; a test "
                "dataset gives every medium once, with all its captions"
            )


def _text_places(
    media: Sequence[Medium], encoded: Sequence[Medium], index: dict[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gallery indices and encoded rows of the own texts, and the medium of every gallery text."""
    counts = torch.tensor([len(m.texts) for m in media])
    first = (counts.cumsum(0) - counts).tolist()
    places: list[int] = []
    rows: list[int] = []
    row = 0
    for medium in encoded:
        if medium.position in index:
            start = first[index[medium.position]]
            places.extend(range(start, start + len(medium.texts)))
            rows.extend(range(row, row + len(medium.texts)))
        row += len(medium.texts)
    text_media = torch.repeat_interleave(torch.arange(len(media)), counts)
    return torch.tensor(places, dtype=torch.long), torch.tensor(rows, dtype=torch.long), text_media


def _padded(parts: Sequence[Tensor], length: int = 0) -> Tensor:
    """Rows of several batches at the length of the longest, or at a given one."""
    length = max([length, *(part.shape[1] for part in parts)])
    return torch.cat([nn.functional.pad(part, (0, length - part.shape[1])) for part in parts])


def _gathered(own: Tensor | None, places: Tensor) -> Tensor:
    """All ranks' rows, each at its place in the gallery; None on a rank that encoded nothing."""
    rows = gather_ragged(torch.empty(0) if own is None else own, interleave=False)
    order = gather_ragged(places, interleave=False)
    gathered = torch.empty_like(rows)
    gathered[order] = rows
    return gathered
