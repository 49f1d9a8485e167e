"""A folder of clips and pictures, and an engine that needs no model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from tests.helpers import tiny_run_cfg
from uniadapter.apis.inputs import InputReader
from uniadapter.retrieval import Texts
from uniadapter.search.engine import EncodedMedia, cosine_weights
from uniadapter.search.reading import query_frames

#: Frames a second of folders of frames.
RATE = 2.0


class StubEngine:
    """Encodes frames by their mean colours and texts by their letters.

    Attributes:
        encoded: How many media were encoded.
    """

    frames = 2
    feature_size = 4
    token_shape = (2, 3, 5)

    def __init__(self, reranks: bool = True, name: str = "stub") -> None:
        self.reader = InputReader(Config(tiny_run_cfg(Path("nowhere"))))
        self.reranks = reranks
        self.binding = {"backbone": name, "run": str(reranks)}
        self.encoded = 0

    def read(self, media: Sequence[Any], kind: Any) -> Tensor:
        return self.batch([query_frames(self.reader, medium, kind) for medium in media])

    def batch(self, frames: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(frames)).double() / 255

    def encode_media(self, batch: Tensor) -> EncodedMedia:
        self.encoded += len(batch)
        means = batch.mean(dim=(3, 4))
        frames = _unit(torch.cat([means - 0.4, means[..., :1] * 0 + 0.1], dim=-1))
        cls = torch.cat([means, means[..., :2].square()], dim=-1).float()
        tokens = torch.stack([cls, 2 * cls, -cls], dim=2).half() if self.reranks else None
        return EncodedMedia(_unit(frames.mean(1).double()), tokens, cls, frames)

    def encode_texts(self, texts: Sequence[str]) -> Texts:
        cleaned = self.reader.read_text(list(texts))
        rows = [np.random.default_rng(zlib.crc32(text.encode())) for text in cleaned]
        drawn = torch.tensor(np.stack([row.normal(size=9) for row in rows]))
        ids = torch.ones(len(cleaned), 1, dtype=torch.long)
        return Texts(_unit(drawn[:, :4]), drawn[:, 4:].float(), ids, ids)

    def score(self, media: EncodedMedia, texts: Texts) -> Tensor:
        if not self.reranks:
            return media.features @ texts.features.t()
        assert media.tokens is not None
        return media.tokens.float().square().mean(dim=(1, 2)) @ texts.cls.t()

    def frame_weights(self, media: EncodedMedia, texts: Texts) -> Tensor:
        return cosine_weights(media.frame_features, texts.features)


def _unit(rows: Tensor) -> Tensor:
    return (rows / rows.norm(dim=-1, keepdim=True)).float()


def write_picture(path: Path, seed: int) -> None:
    """A picture that depends on a number alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((16, 16), Image.Resampling.NEAREST).save(path)


def write_frames(folder: Path, seed: int, count: int) -> None:
    """A folder of frames; :data:`RATE` of them make a second."""
    for index in range(count):
        write_picture(folder / f"{index:03d}.png", 1000 * seed + index)


def content_of(index: Any) -> dict[str, Any]:
    """All that an index knows that can be found, by path and shot, without numbers of rows."""
    snapshot = index.snapshot()
    known: dict[str, Any] = {}
    for place, row in enumerate(snapshot.shot_rows.tolist()):
        file = snapshot.files[int(snapshot.shot_files[place])]
        numbers = tuple(rows[row].tobytes() for rows in snapshot.maps.values())
        shot = (float(snapshot.starts[place]), float(snapshot.ends[place]), numbers)
        known.setdefault(file.path, []).append(shot)
    for file in index.files(everything=True):
        if not file.gone:
            facts = (*file[2:7],)
            known[file.path] = (facts, sorted(known.get(file.path, [])))
    return known
