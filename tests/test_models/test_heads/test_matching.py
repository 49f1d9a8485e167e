from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import MODELS
from torch.nn import functional as F

from tests.helpers import draws
from tests.model_helpers import randomize, tiny_batch, tiny_model
from uniadapter.models.execution import Words
from uniadapter.models.heads import MatchBatch, MatchingHead, draw_negatives
from uniadapter.models.heads.matching import draw_pairs


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_negative_never_shares_the_id():
    ids = torch.tensor([0, 1, 0, 2, 1, 0])
    # The positives are by far the most similar ones.
    logits = 100.0 * (ids[:, None] == ids[None]).float()
    for seed in range(50):
        drawn = draw_negatives(logits, ids, ids, generator(seed))
        assert (ids[drawn] != ids).all()


def test_rows_without_a_negative_are_marked():
    ids = torch.tensor([4, 4, 4])
    assert draw_negatives(torch.randn(3, 3), ids, ids, generator()).tolist() == [-1, -1, -1]
    columns = torch.tensor([4, 4, 7])
    assert draw_negatives(torch.randn(3, 3), ids, columns, generator()).tolist() == [2, 2, 2]


def test_similarities_have_the_shape_of_the_ids():
    with pytest.raises(ValueError, match=r"3 rows and 2 columns have the shape \(2, 3\)"):
        draw_negatives(torch.randn(2, 3), torch.arange(3), torch.arange(2), generator())


def test_frequencies_follow_the_softmax_without_the_positives():
    logits = torch.tensor([[3.0, 0.0, 1.0, 2.0]]).expand(20_000, 4)
    rows, columns = torch.zeros(20_000, dtype=torch.long), torch.arange(4)
    drawn = draw_negatives(logits, rows, columns, generator())
    share = torch.bincount(drawn, minlength=4) / len(drawn)
    expected = torch.softmax(torch.tensor([0.0, 1.0, 2.0]), dim=0)
    torch.testing.assert_close(share[1:], expected, atol=0.015, rtol=0)
    assert share[0] == 0


def test_extreme_similarities_do_not_underflow():
    ids = torch.arange(3)
    logits = torch.full((3, 3), -1e4)
    logits.fill_diagonal_(1e4)
    drawn = draw_negatives(logits, ids, ids, generator())
    assert (ids[drawn] != ids).all()


def test_the_same_generator_draws_the_same():
    ids, logits = torch.arange(8), torch.randn(8, 8)
    first = draw_negatives(logits, ids, ids, generator(3))
    assert torch.equal(first, draw_negatives(logits, ids, ids, generator(3)))


def test_the_head_alone_is_that_of_the_whole_model():
    """Pairs and loss from the states that the model's towers give are those of the model."""
    model = randomize(tiny_model(), std=0.1).train()
    batch, words = tiny_batch(), ("input_ids", "attention_mask")
    head = MatchingHead(32)
    head.load_state_dict({name: model.state_dict()[name] for name in head.state_dict()})
    tokens, feature, frames = model.encode_visual(batch["pixels"])
    states, text = model.encode_text(*(batch[name] for name in words))
    ids, mask = (batch[name] for name in words)
    rows = MatchBatch(tokens, frames, feature, states[:, 0], text, ids, mask, batch["media_ids"])
    head.count()
    rows, pairs = head.pairs(rows, model.contrast.temperature)
    sims = model.frame_sims(rows.tokens[:, :, 0], rows.frames, rows.text_cls, rows.text)
    fusion = model.role("fusion")
    words = Words(rows.input_ids[pairs.texts], rows.mask[pairs.texts])
    memory = fusion.memory(
        rows.tokens[pairs.media].flatten(1, 2),
        factor=model.factor(sims[pairs.texts, pairs.media], *rows.tokens.shape[1:3]),
    )
    fused = fusion.fuse(words, memory, "first")[:, 0]
    want = model(**batch, mode="loss")["loss_itm"]
    torch.testing.assert_close(head.loss(fused, pairs.labels), want)
    assert head.step == model.step == 1


def test_a_head_from_the_registry_learns_to_tell_pairs():
    torch.manual_seed(0)
    head = MODELS.build({"type": "uniadapter.MatchingHead", "text_dim": 6})
    states, labels = torch.randn(8, 6), torch.arange(8) % 2
    assert set(head.state_dict()) == {"itm_head.weight", "itm_head.bias", "step"}
    assert head(states.to(torch.bfloat16)).dtype == torch.float32
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    start = head.loss(states, labels)
    torch.testing.assert_close(start, F.cross_entropy(head.itm_head(states), labels))
    for _ in range(20):
        optimizer.zero_grad()
        head.loss(states, labels).backward()
        optimizer.step()
    assert head.loss(states, labels) < 0.7 * start


def rows_of(seed: int, size: int) -> MatchBatch:
    """Texts and media with features of length 1, trained and averaged ones."""
    source = generator(seed)
    visual, text, visual_m, text_m = F.normalize(torch.randn(4, size, 5, generator=source), dim=-1)
    ids = torch.randint(0, size, (size,), generator=source)
    none = torch.zeros(size, 0)
    return MatchBatch(none, none, visual, none, text, none, none, ids, visual_m, text_m)


@settings(max_examples=draws(25), deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([1.0, 0.3, 1e-4]))
def test_momentum_candidates_are_drawn_by_the_averages_features(seed, size, temperature):
    """A text's negative medium by text . averaged medium, a medium's text the other way round."""
    batch = rows_of(seed, size)
    rows, heat = torch.arange(size), torch.tensor(temperature)
    found = draw_pairs(batch, rows, heat, seed, "momentum")
    source, kept = generator(seed), []
    for online, averaged in ((batch.text, batch.visual_m), (batch.visual, batch.text_m)):
        logits = torch.stack([(averaged * row).sum(1) / heat for row in online])
        kept.append(draw_negatives(logits, batch.ids, batch.ids, source))
    media = [(row, int(other)) for row, other in enumerate(kept[0]) if other >= 0]
    texts = [(int(other), row) for row, other in enumerate(kept[1]) if other >= 0]
    want = [(row, row) for row in range(size)] + media + texts
    assert list(zip(found.texts.tolist(), found.media.tolist(), strict=True)) == want
    assert found.labels.tolist() == [1] * size + [0] * (len(want) - size)


def test_the_averages_decide_between_candidates():
    """Nearly cold, the draw is the most similar row of another id."""
    batch = replace(rows_of(0, 6), ids=torch.arange(6))
    for candidates, medium, text in (
        ("online", batch.visual, batch.text),
        ("momentum", batch.visual_m, batch.text_m),
    ):
        head = MatchingHead(4, "own", candidates)
        _, pairs = head.pairs(batch, torch.tensor(1e-6))
        hidden = torch.eye(6, dtype=torch.bool)
        of_text = (batch.text @ medium.T).masked_fill(hidden, -9).argmax(1)
        of_medium = (batch.visual @ text.T).masked_fill(hidden, -9).argmax(1)
        assert torch.equal(pairs.media[6:12], of_text)
        assert torch.equal(pairs.texts[12:], of_medium)


def test_momentum_candidates_need_averages():
    with pytest.raises(ValueError, match="candidates='first' is unknown"):
        MatchingHead(4, candidates="first")
    matching = {"type": "MatchingHead", "candidates": "momentum"}
    model = tiny_model(contrast={"type": "BatchContrastHead"}, matching=matching, queue_size=None)
    with pytest.raises(ValueError, match=r"momentum averages.*MomentumContrastHead"):
        model(**tiny_batch(), mode="loss")
    assert tiny_model(matching=matching)(**tiny_batch(), mode="loss")["loss_itm"] > 0
