"""A model, a data set and a runner with no more than the retrieval loops need."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor, nn
from torch.utils.data import DataLoader

from uniadapter.engine.runner import RetrievalTestLoop
from uniadapter.evaluation import RetrievalMetric
from uniadapter.structures import MultimodalSample

FRAMES, WIDTH = 2, 8


class StubPreprocessor(BaseDataPreprocessor):
    """A caption is a line of numbers: its token ids."""

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        ids = [
            torch.tensor([int(word) for word in text.split()])
            for sample in data["data_samples"]
            for text in sample.texts
        ]
        padded = nn.utils.rnn.pad_sequence(ids, batch_first=True)
        return {
            "pixels": torch.stack(data["inputs"]).float() / 255,
            "input_ids": padded,
            "attention_mask": (padded > 0).long(),
            "data_samples": data["data_samples"],
        }


class StubScorer:
    """Scores by :meth:`StubModel.match_one`, once it was prepared."""

    def __init__(self, model: StubModel, ids: Tensor, mask: Tensor) -> None:
        self.model, self.ids, self.mask, self.prepared = model, ids, mask, False

    def prepare(self, batch: int) -> None:
        self.prepared = True

    def score(self, tokens: Tensor, chosen: Tensor, frame_sims: Tensor | None) -> Tensor:
        assert self.prepared
        self.model.scored.append(len(chosen))
        return self.model.match_one(tokens, self.ids[chosen], self.mask[chosen], frame_sims)


class StubModel(BaseModel):
    """The interface of a retrieval model, in a few lines; counts the pairs it scores."""

    def __init__(self, pfa: bool = True) -> None:
        super().__init__(data_preprocessor=StubPreprocessor())
        generator = torch.Generator().manual_seed(5)
        self.words = nn.Parameter(torch.randn(50, WIDTH, generator=generator))
        self.patch = nn.Parameter(torch.randn(3, WIDTH, generator=generator))
        self.pfa = pfa
        self.scored: list[int] = []
        self.modes: list[bool] = []

    def encode_visual(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.modes.append(self.training or torch.is_grad_enabled())
        tokens = pixels.flatten(3).transpose(2, 3) @ self.patch
        cls = tokens[:, :, 0]
        return tokens, self._unit(cls.mean(1)), self._unit(cls)

    def encode_text(
        self, ids: Tensor, mask: Tensor, class_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        states = self.words[ids] * mask[..., None]
        states = states + states.sum(1, keepdim=True)
        return states[:, : 1 if class_only else None], self._unit(states[:, 0])

    def frame_sims(
        self, frame_cls: Tensor, frames: Tensor, text_cls: Tensor, text: Tensor
    ) -> Tensor | None:
        if not self.pfa:
            return None
        assert frame_cls.shape[:2] == frames.shape[:2]
        assert len(text_cls) == len(text)
        return torch.einsum("vne,te->tvn", frames, text)

    def scorer(self, ids: Tensor, mask: Tensor) -> StubScorer:
        return StubScorer(self, ids, mask)

    def match_one(
        self, tokens: Tensor, ids: Tensor, mask: Tensor, frame_sims: Tensor | None
    ) -> Tensor:
        frames = tokens.mean(1)
        text = (self.words[ids].sin() * mask[..., None]).sum(1)
        scores = text @ frames.t()
        return (scores if frame_sims is None else scores * frame_sims.exp()).sum(1)

    def forward(self, **kwargs: Any) -> dict[str, Tensor]:
        return {}

    @staticmethod
    def _unit(x: Tensor) -> Tensor:
        return nn.functional.normalize(x, dim=-1)


class Split:
    """Media with one to three captions; some may be unreadable."""

    def __init__(self, num_media: int, skipped: Sequence[int] = ()) -> None:
        self.num_media, self.skipped = num_media, skipped
        self.metainfo: dict = {}

    def __len__(self) -> int:
        return self.num_media

    def texts(self, index: int) -> list[str]:
        rng = torch.Generator().manual_seed(1000 + index)
        lengths = [2 + (index + i) % 4 for i in range(1 + index % 3)]
        return [
            " ".join(map(str, torch.randint(1, 50, (n,), generator=rng).tolist())) for n in lengths
        ]

    def __getitem__(self, index: int) -> dict:
        rng = torch.Generator().manual_seed(index)
        skipped = index in self.skipped
        pixels = torch.randint(0, 256, (FRAMES, 3, 2, 2), generator=rng, dtype=torch.uint8)
        sample = MultimodalSample(
            metainfo=dict(
                media_id=index,
                video_id=f"video{index}",
                media_path=f"videos/{index}.mp4",
                texts=self.texts(index),
                replaced=[],
                skipped=skipped,
            )
        )
        return {"inputs": None if skipped else pixels, "data_samples": sample}


def loader(
    split: Any, batch_size: int = 2, rank: int = 0, world: int = 1, round_up: bool = True
) -> DataLoader:
    # What DefaultSampler deals out; with round_up the last ranks see the first media again.
    size = len(split)
    rounded = -(-size // world) * world if round_up else size
    indices = [i % size for i in range(rounded)][rank::world]
    return DataLoader(split, batch_size, sampler=indices, collate_fn=pseudo_collate)


class FakeRunner(SimpleNamespace):
    """As much of a runner as a loop needs."""

    def __init__(self, model: nn.Module) -> None:
        self.hooks: list[str] = []
        self.info: dict[str, Any] = {}
        super().__init__(
            model=model,
            logger=logging.getLogger("retrieval-test"),
            visualizer=SimpleNamespace(),
            message_hub=SimpleNamespace(update_info=self.info.__setitem__),
        )

    def call_hook(self, name: str, **kwargs: Any) -> None:
        self.hooks.append(name)


def build(
    model: nn.Module, data: DataLoader, kind: type = RetrievalTestLoop, **options: Any
) -> RetrievalTestLoop:
    options.setdefault("k_test", 3)
    return kind(FakeRunner(model), data, Evaluator(RetrievalMetric()), **options)


def expected_scores(split: Split, model: StubModel, k: int, weight: float) -> list[Tensor]:
    """Both directions by loops over pairs, nothing shared, nothing cached."""
    sims: list[list[float]] = []
    itm: list[list[float]] = []
    media = [model.encode_visual(split[v]["inputs"][None].float() / 255) for v in range(len(split))]
    for v in range(len(split)):
        for text in split.texts(v):
            ids = torch.tensor([[int(word) for word in text.split()]])
            mask = torch.ones_like(ids)
            _, feature = model.encode_text(ids, mask)
            sims.append([float(feature[0] @ m[1][0]) for m in media])
            weights = [torch.einsum("ne,e->n", m[2][0], feature[0])[None] for m in media]
            itm.append(
                [
                    float(model.match_one(m[0][0], ids, mask, w if model.pfa else None))
                    for m, w in zip(media, weights, strict=True)
                ]
            )
    both = []
    for sim, logits in (
        (torch.tensor(sims), torch.tensor(itm)),
        (torch.tensor(sims).t(), torch.tensor(itm).t()),
    ):
        scores = torch.full(sim.shape, -100.0)
        for query in range(len(sim)):
            best = sorted(range(sim.shape[1]), key=lambda c: -float(sim[query, c]))[:k]
            for c in best:
                scores[query, c] = logits[query, c] + weight * sim[query, c]
        both.append(scores)
    return both


def positives(split: Split) -> list[list[list[int]]]:
    owner = [v for v in range(len(split)) for _ in split.texts(v)]
    return [
        [[v] for v in owner],
        [[t for t, o in enumerate(owner) if o == v] for v in range(len(split))],
    ]


class Recorder(Evaluator):
    """Keeps the rows that the metric was fed."""

    def __init__(self) -> None:
        super().__init__(RetrievalMetric())
        self.rows: list[list[Tensor]] = [[], []]
        self.positives: list[list[list[int]]] = [[], []]

    def process(self, data_samples: Sequence[dict], data_batch: Any = None) -> None:
        for sample in data_samples:
            self.rows[sample["direction"]].append(sample["scores"])
            self.positives[sample["direction"]].extend(sample["positives"])
        super().process(data_samples, data_batch)
