"""Retrieval: every fast path against the plain way, and batches against each text on its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.models.tasks import RetrievalModel

from .cases import (
    DEVICE,
    assert_near,
    assert_same_gradients,
    bert,
    build,
    fast_paths,
    gradients,
    media_ids,
    pixels,
    retrieval_configs,
    seeds,
    texts,
    vit,
)


def train_step(
    model: RetrievalModel,
    seen: torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor,
    media: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """A small step downhill; the losses before it. The gradients stay."""
    losses = model(seen, ids, mask, media, mode="loss")
    model.zero_grad()
    sum(losses.values()).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.grad is not None:
                parameter.sub_(1e-3 * parameter.grad)
    return {name: loss.detach() for name, loss in losses.items()}


@settings(max_examples=draws(14, deep=800))
@given(st.data())
def test_training_steps_with_fast_paths_equal_plain_ones(data):
    """Losses, gradients of all trained tensors and of the pixels, over two steps."""
    config, fast, seed = data.draw(retrieval_configs()), data.draw(fast_paths()), data.draw(seeds)
    size, frames = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    words, ids = data.draw(texts(size)), data.draw(media_ids(size))
    to_pixels = data.draw(st.booleans())
    plain = build(config, False, seed=seed).train()
    model = build(config, fast, seed=seed).train()
    for step in range(2):
        seen = pixels(seed + step, size, frames).requires_grad_(to_pixels)
        want = train_step(plain, seen, *words.trimmed(), ids)
        want_pixels, seen.grad = seen.grad, None
        got = train_step(model, seen, words.ids, words.mask, ids)
        assert list(got) == list(want)
        for name in want:
            assert_near(got[name], want[name], name)
        assert_same_gradients(gradients(model), gradients(plain))
        if to_pixels and want_pixels is not None:
            assert_near(seen.grad, want_pixels, "pixels")


@settings(max_examples=draws(14, deep=800))
@given(st.data())
@torch.no_grad()
def test_each_text_counts_for_itself(data):
    """Features and scores of a batch are those of each text and medium alone, without padding."""
    config, fast, seed = data.draw(retrieval_configs()), data.draw(fast_paths()), data.draw(seeds)
    count, media = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    frames, chunk = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 7))
    words = data.draw(texts(count))
    seen = pixels(seed, media, frames)
    plain, model = (build(config, switches, seed=seed).eval() for switches in (False, fast))

    tokens, video, frame_features = model.encode_visual(seen)
    class_only = model.encode_visual(seen, class_only=True)
    states, features = model.encode_text(words.ids, words.mask)
    class_states, class_features = model.encode_text(words.ids, words.mask, class_only=True)
    sims = model.frame_sims(tokens[:, :, 0], frame_features, states[:, 0], features)
    scorers = [model.scorer(words.ids, words.mask, chunk) for _ in range(2)]
    scorers[1].prepare(chunk)
    grid = []
    for medium in range(media):
        row = None if sims is None else sims[:, medium]
        scorer = scorers[data.draw(st.booleans())]
        order = torch.tensor(data.draw(st.permutations(range(count))), device=words.ids.device)
        chosen = data.draw(st.sampled_from([None, order]))
        if chosen is None:
            scores = scorer.score(tokens[medium], None, row)
        else:
            mixed = scorer.score(tokens[medium], chosen, None if row is None else row[chosen])
            scores = torch.empty_like(mixed).index_copy_(0, chosen, mixed)
        grid.append(scores)

    for medium in range(media):
        alone = plain.encode_visual(seen[medium : medium + 1])
        for got, want in zip((tokens, video, frame_features), alone, strict=True):
            assert_near(got[medium], want[0])
        assert_near(class_only[1][medium], alone[1][0])
        for text in range(count):
            ids, mask = words.alone(text)
            text_states, text_features = plain.encode_text(ids, mask)
            assert_near(states[text, : words.lengths[text]], text_states[0])
            assert_near(class_states[text, 0], text_states[0, 0])
            for got in (features, class_features):
                assert_near(got[text], text_features[0])
            pair = plain.frame_sims(alone[0][:, :, 0], alone[2], text_states[:, 0], text_features)
            logits = plain.match(ids, mask, alone[0], None if pair is None else pair[:, 0])
            assert_near(grid[medium][text], logits[0, 1], "score_texts")


@settings(max_examples=draws(10, deep=600))
@given(st.data())
@torch.no_grad()
def test_pairs_are_matched_one_by_one(data):
    """Matching logits of a batch of pairs are those of each pair alone."""
    config, fast, seed = data.draw(retrieval_configs()), data.draw(fast_paths()), data.draw(seeds)
    count, frames = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    words = data.draw(texts(count))
    plain, model = (build(config, switches, seed=seed).eval() for switches in (False, fast))
    tokens = plain.encode_visual(pixels(seed, count, frames))[0]
    weigh = data.draw(st.booleans())
    sims = pixels(seed, count, 1).flatten(1)[:, :frames] if weigh else None
    got = model.match(words.ids, words.mask, tokens, sims)
    for pair in range(count):
        row = slice(pair, pair + 1)
        alone = plain.match(*words.alone(pair), tokens[row], None if sims is None else sims[row])
        assert_near(got[pair], alone[0])


@settings(max_examples=draws(10, deep=600))
@given(st.data())
@torch.no_grad()
def test_disabled_adapters_leave_the_bare_model(data):
    """Inside ``adapter_disabled`` nothing of the adapter is left, bit for bit."""
    config, fast, seed = data.draw(retrieval_configs()), data.draw(fast_paths()), data.draw(seeds)
    words = data.draw(texts(3))
    seen = pixels(seed, 3, 2)
    model = build(config, fast, seed=seed).eval()
    bare = build({**config, "adapter": None}, fast, seed=seed).eval()
    missing = bare.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert not [name for name in missing if not name.startswith("ema.")]
    with model.adapter_disabled():
        tokens = model.encode_visual(seen)[0]
        got = (tokens, model.match(words.ids, words.mask, tokens))
    want = bare.encode_visual(seen)[0]
    for left, right in zip(got, (want, bare.match(words.ids, words.mask, want)), strict=True):
        # The same operations on the same numbers.
        assert torch.equal(left, right)


@pytest.mark.parametrize("wider", [0, 5, 20])
@torch.no_grad()
def test_more_texts_than_a_chunk(wider: int):
    """The longest text stands in one chunk of three; the others' are shorter than the padding."""
    config = {
        "type": "RetrievalModel",
        "visual": vit(16, 1),
        "text": bert("BertModel", 16, 2, 16),
        "adapter": {"type": "UniAdapter", "bottleneck": 4},
        "pfa": {"type": "FrameAwareAttention"},
        "embed_dim": 8,
        "queue_size": 4,
    }
    plain, model = (build(config, switches).eval() for switches in (False, True))
    generator = torch.Generator().manual_seed(wider)
    lengths = torch.randint(1, 5, (600,), generator=generator)
    lengths[300] = 20
    mask = (torch.arange(20 + wider) < lengths[:, None]).long().to(DEVICE)
    ids = torch.randint(5, 20, mask.shape, generator=generator).to(DEVICE) * mask
    tokens, _, frames = plain.encode_visual(pixels(0, 1, 2))
    states, features = plain.encode_text(ids, mask)
    sims = plain.frame_sims(tokens[:, :, 0], frames, states[:, 0], features)[:, 0]
    want = plain.match(ids, mask, tokens.expand(600, -1, -1, -1), sims)[:, 1]
    scorer = model.scorer(ids, mask)
    assert_near(scorer.score(tokens[0], frame_sims=sims), want)
    scorer.prepare(100)
    assert_near(scorer.score(tokens[0], frame_sims=sims), want)
