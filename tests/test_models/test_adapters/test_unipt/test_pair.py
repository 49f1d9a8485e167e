"""UniPT's pair of an encoder and a causal decoder side, on T5 and on the package's own decoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.helpers import draws
from tests.model_helpers import one_seed, randomize, tiny_batch
from tests.t5_helpers import original, seq2seq, sources
from tests.test_models.test_adapters import contract_models
from tests.test_models.test_adapters.test_unipt import reference
from uniadapter.apis.model import build_model
from uniadapter.models.components import count_parameters
from uniadapter.models.execution import Words
from uniadapter.models.generation import GenerationConfig, generate

PAIR = {"type": "UniPT", "decoder": "side", "reduction": 2}
ENCODER = {
    "order": "linear-norm",
    "norm": "layer",
    "residual": "identity",
    "projection": "mlp",
    "add_query": True,
    "out_dim": None,
    "every_tap": False,
    "out_residual": False,
    "eps": 1e-7,
    "eps_mode": "add",
    "confidence": "gate",
    "causal": False,
}
DECODER = {
    **ENCODER,
    "out_dim": 16,
    "out_act": True,
    "out_norm": True,
    "out_residual": True,
    "causal": True,
}
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=3)
SEEDS = st.integers(0, 99)


def pair(seed: int = 0, **options: Any) -> Any:
    """T5 with a pair that acts."""
    return randomize(seq2seq({**PAIR, **options}, seed), std=0.2)


def logits(model: Any, ids: Tensor, mask: Tensor, words: Tensor) -> Tensor:
    decoder = model.role("decoder")
    with torch.no_grad():
        return decoder.logits(Words(words), decoder.memory(*model.encode(ids, mask)))[0]


def weights(model: Any, role: str) -> dict[str, Tensor]:
    return dict(model.adapter.sides[role].named_parameters())


@pytest.mark.parametrize(
    ("adapter", "changes", "chosen"),
    [
        ({}, {}, (0, 1, 2)),
        ({"taps": "1-2"}, {}, (1, 2)),
        ({"taps": [2]}, {"confidence": "uniform"}, (2,)),
        ({"confidence": "uniform"}, {"confidence": "uniform"}, (0, 1, 2)),
        ({"identity": False}, {"residual": "none"}, (0, 1, 2)),
        ({"start": "published"}, {"out_residual": False}, (0, 1, 2)),
    ],
)
@settings(max_examples=draws(2), deadline=None)
@given(lengths=LENGTHS, length=st.integers(1, 5), seed=SEEDS)
def test_logits_are_the_formulas_of_transformers_states(
    adapter: dict[str, Any],
    changes: dict[str, Any],
    chosen: tuple[int, ...],
    lengths: list[int],
    length: int,
    seed: int,
) -> None:
    model = pair(seed, **adapter)
    ids, mask = sources(lengths, seed)
    words, _ = sources([length] * len(lengths), seed + 1)
    theirs = original(model)
    with torch.no_grad():
        run = theirs(
            input_ids=ids,
            attention_mask=mask,
            decoder_input_ids=words,
            output_hidden_states=True,
            use_cache=False,
        )
        ones, none = torch.ones_like(words), torch.zeros(len(ids), dtype=torch.long)
        states, own = run.encoder_hidden_states, run.decoder_hidden_states
        memory = reference.forward(
            weights(model, "text"),
            {**ENCODER, **{k: v for k, v in changes.items() if k != "out_residual"}},
            [states[i] for i in chosen],
            states[-1],
            mask,
            none,
        )
        found = reference.forward(
            weights(model, "decoder"),
            {**DECODER, **changes},
            [own[i] for i in chosen],
            own[-1],
            ones,
            none,
            memory,
            mask,
        )
        want = theirs.lm_head(found * 16**-0.5)
    got = logits(model, ids, mask, words)
    scale = float(want.abs().max())
    assert_close(got / scale, want / scale, atol=2e-5, rtol=0)


@settings(max_examples=draws(5), deadline=None)
@given(lengths=LENGTHS, length=st.integers(2, 6), seed=SEEDS, data=st.data())
def test_later_words_change_nothing(
    lengths: list[int], length: int, seed: int, data: st.DataObject
) -> None:
    model = pair()
    ids, mask = sources(lengths, seed)
    words, _ = sources([length] * len(lengths), seed + 1)
    first = data.draw(st.integers(1, length - 1))
    other = words.clone()
    other[:, first:] = (words[:, first:] - 2 + data.draw(st.integers(1, 89))) % 90 + 2
    before, after = logits(model, ids, mask, words), logits(model, ids, mask, other)
    # An operation on more columns may round another way.
    assert_close(before[:, :first], after[:, :first], atol=1e-5, rtol=1e-5)
    assert (before[:, first:] - after[:, first:]).abs().max() > 1e-3
    assert_close(
        logits(model, ids, mask, words[:, :first]), before[:, :first], atol=1e-5, rtol=1e-5
    )


@settings(max_examples=draws(4), deadline=None)
@given(lengths=LENGTHS, extra=st.integers(1, 4), seed=SEEDS)
def test_padding_is_not_read(lengths: list[int], extra: int, seed: int) -> None:
    model = pair()
    ids, mask = sources(lengths, seed, extra)
    words, word_mask = sources([2 + (n % 3) for n in lengths], seed + 1, extra)
    want = logits(model, ids, mask, words)
    noise, _ = sources([ids.shape[1]] * len(ids), seed + 2)
    filled = torch.where(mask == 1, ids, noise)
    assert_close(logits(model, filled, mask, words), want, atol=1e-5, rtol=1e-5)
    decoder = model.role("decoder")
    with torch.no_grad():
        memory = decoder.memory(*model.encode(ids, mask))
        masked = decoder.logits(Words(words, word_mask), memory)[0]
    real = word_mask.bool()
    assert_close(masked[real], want[real], atol=1e-5, rtol=1e-5)


END = 1


def next_words(model: Any, states: Tensor, mask: Tensor | None, words: Tensor) -> Tensor:
    """Log-probabilities (P, V) of the next word in a whole run; no text ends."""
    decoder = model.role("decoder")
    with torch.no_grad():
        found = decoder.logits(Words(words), decoder.memory(states, mask))[0][:, -1]
    return found.log_softmax(-1).index_fill(-1, torch.tensor(END), float("-inf"))


def spell_out(
    model: Any, states: Tensor, mask: Tensor | None, prompt: Tensor, count: int
) -> Tensor:
    """Greedy decoding, a whole run a word."""
    words = prompt
    for _ in range(count):
        best = next_words(model, states, mask, words).argmax(-1, keepdim=True)
        words = torch.cat((words, best), 1)
    return words


def best_two(model: Any, states: Tensor, mask: Tensor | None, prompt: Tensor) -> Tensor:
    """The likeliest two words behind a prompt, of all there are."""
    first = next_words(model, states, mask, prompt)
    count = first.shape[1]
    rows = torch.arange(len(prompt)).repeat_interleave(count)
    words = torch.cat((prompt[rows], torch.arange(count).repeat(len(prompt))[:, None]), 1)
    second = next_words(model, states[rows], None if mask is None else mask[rows], words)
    best = (first[..., None] + second.unflatten(0, (-1, count))).flatten(1).argmax(-1)
    return torch.cat((prompt, (best // count)[:, None], (best % count)[:, None]), 1)


@settings(max_examples=draws(4), deadline=None)
@given(lengths=LENGTHS, length=st.integers(3, 8), seed=SEEDS)
def test_it_writes_what_teacher_forcing_says(lengths: list[int], length: int, seed: int) -> None:
    model = pair(seed)
    with torch.no_grad():
        states, mask = model.encode(*sources(lengths, seed))
    check_generation(model, states, mask, torch.zeros(len(lengths), 1, dtype=torch.long), length)


def check_generation(
    model: Any, states: Tensor, mask: Tensor | None, prompt: Tensor, length: int
) -> None:
    """Greedy decoding is that of whole runs; as many beams as words find the likeliest text."""
    decoder, start = model.role("decoder"), prompt.shape[1]
    memory = decoder.memory(states, mask)
    got = generate(decoder, prompt, memory, GenerationConfig(1, length, length), END)
    assert torch.equal(got, spell_out(model, states, mask, prompt, length - start))
    beams = next_words(model, states, mask, prompt).shape[1]
    config = GenerationConfig(beams, start + 2, start + 2)
    got = generate(decoder, prompt, memory, config, END)
    assert torch.equal(got, best_two(model, states, mask, prompt))


def test_no_gradient_enters_the_backbone() -> None:
    """Dropout in the frozen layers is off, and all of the pair trains but the gates' biases."""
    model = randomize(seq2seq(PAIR, text={"dropout": 0.4})).train()
    losses = []
    for _ in range(2):
        model.zero_grad()
        loss = contract_models.seq2seq_loss(model)
        loss.backward()
        losses.append(loss.detach())
    assert torch.equal(*losses)
    for name, parameter in model.named_parameters():
        if name.startswith("text."):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            small = parameter.grad.abs().max() < 1e-4
            assert small == name.endswith("gate.bias"), name


def test_by_default_step_zero_is_the_frozen_model() -> None:
    model, (ids, mask) = seq2seq(PAIR), sources([3, 6])
    with torch.no_grad():
        want = original(model)(input_ids=ids, attention_mask=mask, decoder_input_ids=ids).logits
    assert torch.equal(logits(model, ids, mask, ids), want)
    # The norm's weight is zero, and what stands in front of it is not: it trains from there on.
    assert model.adapter.sides["decoder"].up.linear.weight.abs().min() > 0
    loud = randomize(model, std=0.2)
    assert not torch.equal(logits(loud, ids, mask, ids), want)
    with loud.adapter_disabled():
        assert torch.equal(logits(loud, ids, mask, ids), want)
    published = seq2seq({**PAIR, "start": "published"})
    assert not torch.equal(logits(published, ids, mask, ids), want)


def test_the_count_is_the_formula_of_the_two_sides() -> None:
    with torch.device("meta"):
        text = {"type": "T5", "arch": "base"}
        adapter = {"type": "UniPT", "decoder": "side", "reduction": 4, "taps": "1,3,5,7,9,11"}
        model = build_model({"type": "Seq2SeqModel", "text": text, "adapter": adapter})
    assert count_parameters(model)["adapter"] == 3_039_746


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return contract_models.write_files(tmp_path_factory.mktemp("pair"))


@pytest.mark.parametrize("kind", ["caption", "vqa"])
def test_own_decoders_read_frozen_states_and_stay_causal(kind: str, folder: Path) -> None:
    model = randomize(getattr(contract_models, kind)(PAIR, folder).eval(), std=0.2)
    batch, ids = tiny_batch(), tiny_batch(seed=5)["input_ids"].clamp(min=1)
    mask = batch["attention_mask"] if kind == "vqa" else None
    with torch.no_grad():
        states = (
            model.encode_question(batch["pixels"], batch["input_ids"], mask)
            if kind == "vqa"
            else model.encode_frames(batch["pixels"]).flatten(1, 2)
        )
        with model.adapter_disabled():
            frozen = (
                model.encode_question(batch["pixels"], batch["input_ids"], mask)
                if kind == "vqa"
                else model.encode_frames(batch["pixels"]).flatten(1, 2)
            )
    assert states.shape == (*frozen.shape[:2], 32 + 16)
    real = torch.ones_like(states[..., :1]) if mask is None else mask[..., None]
    assert_close(states[..., :32] * real, frozen * real)
    decoder = model.role("decoder")
    with torch.no_grad():
        memory = decoder.memory(states, mask)
        other = ids.clone()
        other[:, 3:] = other[:, 3:] % 11 + 1
        before, after = (decoder.logits(Words(x), memory)[0] for x in (ids, other))
    assert_close(before[:, :3], after[:, :3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before[:, 3:], after[:, 3:], atol=1e-3)
    check_generation(model, states, mask, ids[:, :1], 5)


@pytest.mark.parametrize("kind", ["caption", "vqa"])
@settings(max_examples=draws(3), deadline=None)
@given(
    questions=st.lists(st.integers(2, 5), min_size=3, max_size=3),
    texts=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    training=st.booleans(),
    seed=SEEDS,
)
def test_own_decoders_do_not_read_padding(
    kind: str, questions: list[int], texts: list[int], training: bool, seed: int, folder: Path
) -> None:
    """Of a question or a text; each row is what it is alone, and as of a run of some words."""
    model = randomize(getattr(contract_models, kind)(PAIR, folder), std=0.2).train(training)
    pixels, decoder = tiny_batch(seed=seed)["pixels"], model.role("decoder")
    (ids, mask), (words, word_mask) = (
        sources(lengths, seed, vocab_size=11) for lengths in (questions, texts)
    )

    def read(row: slice, length: int) -> Any:
        if kind == "caption":
            return decoder.memory(model.encode_frames(pixels[row]).flatten(1, 2))
        own = ids[row, :length], mask[row, :length]
        return decoder.memory(model.encode_question(pixels[row], *own), own[1])

    real = word_mask.bool()
    with torch.no_grad():
        memory = read(slice(None), ids.shape[1])
        got = decoder.logits(Words(words, word_mask), memory)[0]
        wanted = decoder.logits(Words(words, word_mask), memory, wanted=real)[0]
        assert_close(wanted, got[real], atol=1e-4, rtol=1e-4)
        for row, (question, text) in enumerate(zip(questions, texts, strict=True)):
            alone = read(slice(row, row + 1), question)
            want = decoder.logits(Words(words[row : row + 1, :text]), alone)[0][0]
            assert_close(got[row, :text], want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["caption", "vqa"])
def test_own_towers_get_no_gradient(kind: str, folder: Path) -> None:
    model = randomize(getattr(contract_models, kind)(PAIR, folder)).train()
    with one_seed(0):
        contract_models.words_loss(model).backward()
    backbone = [p for tower in model.towers().values() for p in tower.parameters()]
    assert all(parameter.grad is None for parameter in backbone)
    assert all(parameter.grad is not None for parameter in model.adapter.parameters())


def test_answers_of_many_questions_read_their_own_side(folder: Path) -> None:
    """Ranking deals what is read to candidates; each must be scored as if it were alone."""
    model = randomize(contract_models.vqa(PAIR, folder).eval(), std=0.2)
    batch, answers = tiny_batch(), ["red", "a dot", "blue square"]
    mask = batch["attention_mask"]
    with torch.no_grad():
        states = model.encode_question(batch["pixels"], batch["input_ids"], mask)
        scores = model.rank_answers(states, mask, answers)
        for row in range(len(states)):
            one = model.rank_answers(states[row : row + 1], mask[row : row + 1], answers)
            assert_close(scores[row : row + 1], one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"decoder": "both"}, "adapter.decoder='both' is unknown: choose from"),
        ({"reduction": 5}, "adapter.reduction=5 does not divide the width 16"),
        ({"taps": "3"}, "leaves no tap beside the guide"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        seq2seq({**PAIR, **options})
