"""The naive reference of the benchmarks computes what the package computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import adapter_cfg, randomize, tiny_batch, tiny_model
from tools.analysis_tools.naive import NaiveModel, NaiveRetrieval, evaluate
from uniadapter.evaluation.functional import shortlist
from uniadapter.models.tasks import RetrievalModel

LENGTH = 9
PFA: list[dict[str, Any] | None] = [
    {"type": "FrameAwareAttention", "variant": "released"},
    {"type": "FrameAwareAttention", "variant": "paper", "temperature": 20.0},
    None,
]
ADAPTERS: list[dict[str, Any] | None] = [
    adapter_cfg(),
    adapter_cfg(sharing="none", query_residual="own"),
    adapter_cfg(sharing="up", query_residual="off"),
    adapter_cfg(sharing="down+up", shared_layers="2", learnable_scale=True),
    adapter_cfg(layers="2", textual_branch=False),
    adapter_cfg(towers=["visual"]),
    adapter_cfg(towers=["visual", "text"]),
    adapter_cfg(variant="released", kv_rank=4),
    None,
]


def _model(pfa: dict | None = PFA[0], adapter: dict | None = ADAPTERS[0]) -> RetrievalModel:
    return randomize(tiny_model(pfa=pfa, adapter=adapter)).eval()


def _close(ours: torch.Tensor, naive: torch.Tensor) -> None:
    torch.testing.assert_close(naive, ours, rtol=1e-4, atol=2e-5)


@torch.no_grad()
def _compare_scores(model: RetrievalModel, masked: bool = True) -> torch.Tensor:
    """Encode, match pair by pair and score one medium against all texts, both ways."""
    naive, batch = NaiveModel(model, LENGTH), tiny_batch(size=4, frames=3)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    if not masked:
        ids, mask = ids.clamp(min=5), torch.ones_like(mask)
    tokens, feature, frames = model.encode_visual(batch["pixels"])
    for ours, plain in zip(
        (tokens, feature, frames), naive.encode_visual(batch["pixels"]), strict=True
    ):
        _close(ours, plain)
    states, text = model.encode_text(ids, mask)
    text_cls, naive_text = naive.encode_text(ids, mask)
    _close(states[:, 0], text_cls)
    _close(text, naive_text)
    sims = model.frame_sims(tokens[:, :, 0], frames, text_cls, text)
    rows = torch.arange(4)
    pairs = None if sims is None else sims[rows, rows]
    plain = naive.frame_sims(tokens[:, :, 0], frames, text_cls, text)
    if pairs is not None and plain is not None:
        _close(pairs, plain)
    _close(model.match(ids, mask, tokens, pairs), naive.match(ids, mask, tokens, plain))
    one = None if sims is None else sims[:, 1]
    scores = model.score_texts(tokens[1], ids, mask, one)
    _close(scores, naive.score_texts(tokens[1], ids, mask, one, chunk=3))
    return scores


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("pfa", PFA)
def test_scores_equal_with_every_frame_weighting(pfa: dict | None, masked: bool) -> None:
    assert _compare_scores(_model(pfa), masked).std() > 1e-3


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_scores_equal_where_texts_fuse_in_the_upper_layers(adapter: dict | None) -> None:
    text = {**tiny_retrieval_cfg()["text"], "type_vocab_size": 2, "fusion_layer": 1}
    model = randomize(tiny_model(adapter=adapter, text=text)).eval()
    assert _compare_scores(model).std() > 1e-3


@pytest.mark.parametrize("pfa", PFA[:2])
@pytest.mark.parametrize("adapter", ADAPTERS[1:])
def test_scores_equal_with_every_way_to_share(adapter: dict | None, pfa: dict) -> None:
    _compare_scores(_model(pfa, adapter))


def test_the_frame_weights_and_adapters_matter() -> None:
    scores = [_compare_scores(_model(pfa)) for pfa in PFA]
    assert (scores[0] - scores[1]).abs().max() > 1e-3
    assert (scores[0] - scores[2]).abs().max() > 1e-3
    assert (scores[0] - _compare_scores(tiny_model().eval())).abs().max() > 1e-3


def test_texts_too_long_for_the_padding_are_refused() -> None:
    naive = NaiveModel(_model(), text_length=4)
    with pytest.raises(ValueError, match="text_length=4"):
        naive.encode_text(torch.ones(1, 5, dtype=torch.long), torch.ones(1, 5))


@torch.no_grad()
def test_both_directions_score_their_own_shortlists() -> None:
    model, batch, k = _model(), tiny_batch(size=5, frames=2), 2
    ids, mask = batch["input_ids"], batch["attention_mask"]
    t2v, v2t = evaluate(NaiveModel(model, LENGTH), batch["pixels"].split(2), ids, mask, k, chunk=3)
    tokens, media, frames = model.encode_visual(batch["pixels"])
    states, texts = model.encode_text(ids, mask)
    sims = model.frame_sims(tokens[:, :, 0], frames, states[:, 0], texts)
    assert sims is not None
    full = torch.stack([model.score_texts(tokens[v], ids, mask, sims[:, v]) for v in range(5)])
    for scores, expected, best in (
        (t2v, full.t(), shortlist(texts, media, k)[0]),
        (v2t, full, shortlist(media, texts, k)[0]),
    ):
        listed = torch.zeros_like(scores, dtype=torch.bool).scatter(1, best, True)
        assert (scores[~listed] == -100).all()
        _close(expected[listed], scores[listed])


def _training_pair(adapter: dict | None, pfa: dict | None, **options: Any) -> list[RetrievalModel]:
    """Two models alike, whose averages are not their weights."""
    return [
        randomize(tiny_model(pfa=pfa, adapter=adapter, momentum=0.9, **options)).train()
        for _ in range(2)
    ]


@pytest.mark.parametrize(
    ("adapter", "pfa", "ids", "options"),
    [
        (ADAPTERS[0], PFA[0], [0, 1, 2], {}),
        (ADAPTERS[0], PFA[1], [0, 1, 0], {}),
        (ADAPTERS[7], PFA[1], [0, 1, 2], {}),
        (None, None, [3, 3, 3], {"train_backbone": True}),
    ],
)
def test_losses_gradients_and_steps_equal(
    adapter: dict | None, pfa: dict | None, ids: list[int], options: dict
) -> None:
    model, other = _training_pair(adapter, pfa, **options)
    naive = NaiveRetrieval(other, LENGTH, lr=1e-3)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.05)
    for seed in (1, 2):
        batch = tiny_batch(size=3, frames=2, seed=seed, ids=ids)
        losses = model(**batch, mode="loss")
        optimizer.zero_grad()
        sum(losses.values()).backward()
        plain = naive.loss(batch)
        naive.optimizer.zero_grad()
        sum(plain.values()).backward()
        for name, loss in losses.items():
            _close(loss, plain[name])
        for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
            assert (ours.grad is None) == (theirs.grad is None), name
            if ours.grad is not None:
                torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-3, atol=1e-4, msg=name)
        optimizer.step()
        naive.optimizer.step()
        # AdamW divides by the gradient's size, so what is nearly zero may go anywhere: compare
        # the next batch from the same weights.
        other.load_state_dict(model.state_dict())


def test_a_step_trains_and_averages_everything() -> None:
    model, other = _training_pair(ADAPTERS[0], PFA[0])
    naive = NaiveRetrieval(other, LENGTH, lr=1e-3)
    before = {name: p.detach().clone() for name, p in naive.online.named_parameters()}
    batch = tiny_batch()
    expected = sum(loss.item() for loss in model(**batch, mode="loss").values())
    assert naive.step(batch) == pytest.approx(expected, abs=1e-4)
    for name, parameter in naive.online.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name
    averages = model.ema.averages()
    for name, average in naive.momentum.named_parameters():
        _close(averages.get(name, before[name]), average)
        assert not average.requires_grad
    _close(model.queue.visual, naive.queue.visual)
