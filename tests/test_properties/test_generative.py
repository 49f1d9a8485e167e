"""VQA and captioning: fast paths against the plain way, and batches against each row on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.helpers import draws
from uniadapter.structures import MultimodalSample

from .cases import (
    DEVICE,
    VOCABULARY,
    assert_near,
    assert_same_gradients,
    build,
    fast_paths,
    generative_configs,
    gradients,
    pixels,
    seeds,
    texts,
    words,
)


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return path


def decoder_ids(model: Any, text: str, longest: int | None = None) -> torch.Tensor:
    """Ids (1, L) of one text for the decoder."""
    ids = torch.tensor([model.tokenizer.encode(text, longest)], device=DEVICE)
    ids[0, 0] = model.dec_token_id
    return ids


def word_losses(
    model: Any, states: torch.Tensor, ids: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """Losses (L - 1,) of the words of one text behind its first token, states (1, S, D)."""
    logits = model.decoder(ids, None, model.decoder.memory(states))[0]
    return F.cross_entropy(logits[0, :-1], ids[0, 1:], label_smoothing=smoothing, reduction="none")


@st.composite
def answers(draw: st.DrawFn, count: int) -> list[MultimodalSample]:
    """Samples with one to three answers each and their weights."""
    samples = []
    for _ in range(count):
        given_answers = draw(st.lists(words(), min_size=1, max_size=3))
        shares = [draw(st.sampled_from([0.1, 0.5, 1.0])) for _ in given_answers]
        metainfo = {"answers": given_answers, "answer_weights": shares}
        samples.append(MultimodalSample(metainfo=metainfo))
    return samples


@settings(max_examples=draws(6, deep=240))
@given(data=st.data())
def test_vqa_training(vocab, data):
    """Loss and gradients with fast paths are those of each question and answer alone."""
    config, fast = data.draw(generative_configs("VQAModel")), data.draw(fast_paths())
    seed, size = data.draw(seeds), data.draw(st.integers(1, 3))
    frames = data.draw(st.sampled_from([1, 2, 16]))
    questions, samples = data.draw(texts(size)), data.draw(answers(size))
    longest = config["max_answer_len"] = data.draw(st.integers(2, 6))
    plain, model = (build(config, switches, vocab, seed).train() for switches in (False, fast))
    seen = pixels(seed, size, frames)
    got = model(seen, questions.ids, questions.mask, data_samples=samples, mode="loss")["loss_lm"]
    want = torch.zeros((), device=DEVICE)
    for row, sample in enumerate(samples):
        states = plain.encode_question(seen[row : row + 1], *questions.alone(row))
        for answer, weight in zip(sample.answers, sample.answer_weights, strict=True):
            ids = decoder_ids(plain, answer, longest)
            losses = word_losses(plain, states, ids, config["label_smoothing"])
            want = want + weight * losses.sum() / size
    assert_near(got, want)
    for loss in (got, want):
        loss.backward()
    assert_same_gradients(gradients(model), gradients(plain))


@settings(max_examples=draws(6, deep=240))
@given(data=st.data())
@torch.no_grad()
def test_vqa_ranking(vocab, data):
    """Answers are ranked by the likelihood of each, of those with the likeliest first words."""
    config, fast = data.draw(generative_configs("VQAModel")), data.draw(fast_paths())
    seed, size = data.draw(seeds), data.draw(st.integers(1, 3))
    frames = data.draw(st.sampled_from([1, 2, 16]))
    questions = data.draw(texts(size))
    candidates = data.draw(st.lists(words().filter(bool), min_size=1, max_size=6, unique=True))
    plain, model = (build(config, switches, vocab, seed).eval() for switches in (False, fast))
    seen = pixels(seed, size, frames)
    states = model.encode_question(seen, questions.ids, questions.mask)
    got = model.rank_answers(states, questions.mask, candidates)
    assert got.shape == (size, len(candidates))
    for row in range(size):
        alone = plain.encode_question(seen[row : row + 1], *questions.alone(row))
        assert_near(states[row, : questions.lengths[row]], alone[0])
        ids = [decoder_ids(plain, answer) for answer in candidates]
        logits = plain.decoder(ids[0][:, :1], None, plain.decoder.memory(alone))[0]
        first = logits[0, 0, [int(i[0, 1]) for i in ids]]
        order = first.sort(descending=True)
        kept = min(config["k_test"], len(candidates))
        if kept < len(candidates):
            # Which of two equal first words is kept is nobody's promise.
            assume(float(order.values[kept - 1] - order.values[kept]) > 1e-4)
        for candidate in range(len(candidates)):
            if candidate not in order.indices[:kept]:
                assert got[row, candidate] == -torch.inf
                continue
            want = -word_losses(plain, alone, ids[candidate], 0.0).sum()
            assert_near(got[row, candidate], want)


@settings(max_examples=draws(6, deep=240))
@given(data=st.data())
def test_caption_training(vocab, data):
    """Loss and gradients with fast paths are those of each caption's words alone."""
    config, fast = data.draw(generative_configs("CaptionModel")), data.draw(fast_paths())
    seed, size = data.draw(seeds), data.draw(st.integers(1, 3))
    frames = data.draw(st.sampled_from([1, 2, 16]))
    captions = data.draw(st.lists(words(6), min_size=size, max_size=size))
    longest = config["max_text_len"] = data.draw(st.integers(8, 12))
    samples = [MultimodalSample(metainfo={"text": caption}) for caption in captions]
    plain, model = (build(config, switches, vocab, seed).train() for switches in (False, fast))
    seen = pixels(seed, size, frames)
    got = model(seen, data_samples=samples, mode="loss")["loss_lm"]
    losses = []
    for row, caption in enumerate(captions):
        tokens = plain.encode_frames(seen[row : row + 1]).flatten(1, 2)
        ids = decoder_ids(plain, config["prompt"] + caption, longest)
        prompt = len(plain.tokenizer.encode(config["prompt"])) - 2
        losses.append(word_losses(plain, tokens, ids, config["label_smoothing"])[prompt:])
    want = torch.cat(losses).mean()
    assert_near(got, want)
    for loss in (got, want):
        loss.backward()
    assert_same_gradients(gradients(model), gradients(plain))


@settings(max_examples=draws(5, deep=200))
@given(data=st.data())
@torch.no_grad()
def test_greedy_captions(vocab, data):
    """Greedy decoding of a batch writes the likeliest next word of each medium, again and again."""
    config, fast = data.draw(generative_configs("CaptionModel")), data.draw(fast_paths())
    seed, size = data.draw(seeds), data.draw(st.integers(1, 3))
    longest, least = data.draw(st.integers(5, 9)), data.draw(st.integers(1, 9))
    config["generation"] = {"num_beams": 1, "max_length": longest, "min_length": least}
    plain, model = (build(config, switches, vocab, seed).eval() for switches in (False, fast))
    tokens = plain.encode_frames(pixels(seed, size, 2)).flatten(1, 2)
    got = model.caption(tokens)
    end = plain.tokenizer.sep_token_id
    for row in range(size):
        ids, known = plain.prompt_ids(), len(plain.prompt_ids())
        cross = plain.decoder.memory(tokens[row : row + 1])
        while len(ids) < longest and ids[-1] != end:
            logits = plain.decoder(torch.tensor([ids], device=DEVICE), None, cross)[0][0, -1]
            if len(ids) < least:
                logits[end] = -torch.inf
            best = logits.topk(2)
            assume(float(best.values[0] - best.values[1]) > 1e-4)
            ids.append(int(best.indices[0]))
        words_only = ids[known:-1] if ids[-1] == end and len(ids) > known else ids[known:]
        assert got[row] == plain.tokenizer.decode(words_only)
