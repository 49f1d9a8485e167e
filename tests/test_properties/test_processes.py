"""Several processes compute what one computes: losses, gradients and the queue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.spawn import spawn
from uniadapter.structures import MultimodalSample

from .cases import (
    DEVICE,
    VOCABULARY,
    Texts,
    assert_near,
    build,
    fast_paths,
    generative_configs,
    gradients,
    media_ids,
    pixels,
    retrieval_configs,
    seeds,
    texts,
    words,
)

MOST = 7


@dataclass(frozen=True)
class Case:
    """A model, its fast paths and a batch."""

    config: dict[str, Any]
    fast: Any
    seed: int
    frames: int
    texts: Texts
    ids: torch.Tensor
    samples: list[dict[str, Any]]

    def step(self, vocab: Path, rows: list[int]) -> tuple[dict, dict, dict]:
        """Losses, gradients and buffers after a training step on some rows of the batch."""
        model = build(self.config, self.fast, vocab, self.seed).train()
        seen = pixels(self.seed, len(self.texts.lengths), self.frames)[rows]
        # A loader pads to the longest of its own batch, or wider.
        width = self.texts.ids.shape[1]
        if self.seed % 2:
            width = max(self.texts.lengths[row] for row in rows)
        ids, mask = self.texts.ids[rows, :width], self.texts.mask[rows, :width]
        samples = [MultimodalSample(metainfo=self.samples[row]) for row in rows]
        losses = model(seen, ids, mask, self.ids[rows], samples, mode="loss")
        sum(losses.values()).backward()
        named = {name: loss.detach() for name, loss in losses.items()}
        return named, gradients(model), dict(model.named_buffers())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Batches of every task; each process has a row at least."""
    kind = draw(
        st.sampled_from(["RetrievalModel", "BlipPretrainModel", "VQAModel", "CaptionModel"])
    )
    if kind in ("VQAModel", "CaptionModel"):
        config = draw(generative_configs(kind))
    else:
        config = draw(retrieval_configs())
        config["negatives"] = "all"
        if kind == "BlipPretrainModel":
            decoder = {**config["text"], "type": "BertDecoder", "fusion_layer": 0}
            config.update(type=kind, decoder=decoder)
    size = draw(st.integers(3, MOST))
    samples = []
    for _ in range(size):
        answers = draw(st.lists(words(), min_size=1, max_size=3))
        weights = draw(st.lists(st.sampled_from([0.3, 1.0]), min_size=3, max_size=3))
        text = draw(words(6))
        metainfo = {"text": text, "answers": answers, "answer_weights": weights[: len(answers)]}
        samples.append(metainfo)
    drawn = draw(texts(size))
    frames, ids = draw(st.integers(1, 2)), draw(media_ids(size))
    return Case(config, draw(fast_paths()), draw(seeds), frames, drawn, ids, samples)


def one_of_several(rank: int, world: int, batch: list[tuple], vocab: Path) -> None:
    """In each process: its rows of every case, against what one process computed."""
    for case, want_losses, want_gradients, want_buffers in batch:
        rows = list(range(rank, len(case.texts.lengths), world))
        losses, grads, buffers = case.step(vocab, rows)
        for name, want in want_losses.items():
            mean = losses[name].clone()
            torch_dist.all_reduce(mean)
            assert_near(mean / world, want, name)
        for name, want in want_gradients.items():
            # As DistributedDataParallel does.
            grad = torch.zeros_like(want) if grads[name] is None else grads[name].clone()
            torch_dist.all_reduce(grad)
            assert_near(grad / world, want, name)
        for name, want in want_buffers.items():
            assert_near(buffers[name], want, name)


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_equal_one(world, tmp_path_factory):
    """Ragged shards, rows interleaved as a distributed sampler deals them.

    Processes take longer to begin than to compute a case, so they begin once for all of them. A
    list of cases as one drawn value would be the simplest list, or more than hypothesis draws.
    """
    vocab = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    vocab.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    batch: list[tuple] = []

    @settings(max_examples=draws(12, deep=200), phases=[Phase.generate])
    @given(cases())
    def alone(case: Case) -> None:
        losses, grads, buffers = case.step(vocab, list(range(len(case.texts.lengths))))
        zeros = {n: torch.zeros(1, device=DEVICE) for n, g in grads.items() if g is None}
        filled = {n: zeros.get(n) if g is None else g for n, g in grads.items()}
        batch.append((case, losses, filled, buffers))

    alone()
    spawn(one_of_several, world, batch, vocab)
