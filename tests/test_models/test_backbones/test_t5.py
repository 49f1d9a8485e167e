"""T5 is transformers' own, bit for bit, with sites, and one table of words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.helpers import draws
from tests.t5_helpers import ARCH, VOCAB_SIZE, original, seq2seq, seq2seq_cfg, sources
from uniadapter.apis.model import build_model
from uniadapter.models.components import count_parameters
from uniadapter.models.execution import Words
from uniadapter.models.generation import GenerationConfig, generate

LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=3)


def logits(model: Any, ids: Any, mask: Any, words: Any) -> torch.Tensor:
    decoder = model.role("decoder")
    return decoder.logits(Words(words), decoder.memory(*model.encode(ids, mask)))[0]


@settings(max_examples=draws(4), deadline=None)
@given(lengths=LENGTHS, length=st.integers(1, 5), seed=st.integers(0, 99))
def test_states_and_logits_are_transformers_own(lengths, length, seed):
    model = seq2seq(seed=seed)
    ids, mask = sources(lengths, seed)
    words, _ = sources([length] * len(lengths), seed + 1)
    with torch.no_grad():
        want = original(model)(
            input_ids=ids, attention_mask=mask, decoder_input_ids=words, use_cache=False
        )
        got = logits(model, ids, mask, words)
        states = model.encode(ids, mask)[0]
    # Products of a single row may be added up in another order.
    assert_close(states, want.encoder_last_hidden_state, atol=1e-5, rtol=1e-5)
    assert_close(got, want.logits, atol=1e-5, rtol=1e-5)


@settings(max_examples=draws(4), deadline=None)
@given(lengths=LENGTHS, parts=st.lists(st.integers(1, 2), min_size=1, max_size=4))
def test_words_one_by_one_are_words_at_once(lengths, parts):
    """With what is kept of earlier words, whatever part of a text is run at a time."""
    model = seq2seq()
    ids, mask = sources(lengths)
    words, _ = sources([sum(parts)] * len(lengths), 2)
    decoder, past, found = model.role("decoder"), None, []
    with torch.no_grad():
        memory = decoder.memory(*model.encode(ids, mask))
        for part in words.split(parts, 1):
            new, past = decoder.logits(Words(part), memory, past)
            found.append(new)
        whole = decoder.predict(decoder.states(Words(words), memory))
    assert_close(torch.cat(found, 1), whole, atol=1e-5, rtol=1e-5)
    wanted = torch.ones_like(words, dtype=torch.bool)
    wanted[:, 0] = False
    assert_close(decoder.logits(Words(words), memory, wanted=wanted)[0], whole[wanted])


@settings(max_examples=draws(5), deadline=None)
@given(
    lengths=LENGTHS,
    extra=st.integers(0, 3),
    beams=st.integers(1, 4),
    length=st.integers(3, 9),
    louder=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 99),
)
def test_it_writes_what_transformers_writes(lengths, extra, beams, length, louder, seed):
    model = seq2seq(seed=seed)
    with torch.no_grad():
        # A text may end early or not at all.
        model.text.shared.weight[1] *= louder
    ids, mask = sources(lengths, seed, extra)
    decoder, prompt = model.role("decoder"), torch.zeros(len(ids), 1, dtype=torch.long)
    with torch.no_grad():
        memory = decoder.memory(*model.encode(ids, mask))
        got = generate(decoder, prompt, memory, GenerationConfig(beams, length, 0), 1, 0)
        options = {"num_beams": beams, "max_length": length, "do_sample": False}
        want = original(model).generate(input_ids=ids, attention_mask=mask, **options)
    # Behind an end transformers' beams write ends, where the word for padding is 0.
    ends = (want == 1).long()
    want = want.masked_fill(ends.cumsum(1) > ends, 0)
    assert torch.equal(got[:, : want.shape[1]], want)
    assert not got[:, want.shape[1] :].any()


def test_padding_behind_a_text_changes_nothing():
    model = seq2seq()
    words, _ = sources([4, 4], 2)
    with torch.no_grad():
        short = logits(model, *sources([3, 5]), words)
        ids, mask = sources([3, 5])
        wide = torch.nn.functional.pad(ids, (0, 4), value=9), torch.nn.functional.pad(mask, (0, 4))
        assert_close(logits(model, *wide, words), short, atol=1e-5, rtol=1e-5)


def test_the_table_is_registered_saved_and_counted_once():
    model = seq2seq()
    tables = [n for n, t in model.state_dict().items() if t.shape == (VOCAB_SIZE, 16)]
    assert tables == ["text.shared.weight"]
    assert count_parameters(model)["total"] == sum(p.numel() for p in original(model).parameters())


def test_published_sizes():
    for arch, total in (("small", 60_506_624), ("base", 222_903_552), ("large", 737_668_096)):
        with torch.device("meta"):
            model = build_model({"type": "Seq2SeqModel", "text": {"type": "T5", "arch": arch}})
        assert count_parameters(model)["total"] == total


def test_a_copy_runs_its_own_layers():
    model = seq2seq({"type": "LoRA", "rank": 2})
    ids, mask = sources([3, 5])
    clone = copy.deepcopy(model)
    with torch.no_grad():
        want = logits(model, ids, mask, ids)
        for parameter in clone.parameters():
            parameter.add_(0.1)
        assert not torch.equal(logits(clone, ids, mask, ids), want)
        assert torch.equal(logits(model, ids, mask, ids), want)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ({"arch": "huge"}, "arch='huge' is unknown: choose from"),
        ({"arch": {"hidden_size": 8}}, "must have whole numbers above 0 for"),
        ({"arch": {**ARCH, "num_heads": 0}}, "must have whole numbers above 0 for"),
        ({"arch": {**ARCH, "width": 4}}, "must have whole numbers above 0 for"),
    ],
)
def test_wrong_sizes_are_refused(text, match):
    with pytest.raises(ValueError, match=match):
        build_model(seq2seq_cfg(text=text))


def test_states_of_another_width_are_refused():
    decoder = seq2seq().role("decoder")
    with pytest.raises(ValueError, match=r"Cross-attention reads states \(V, S, 16\)"):
        decoder.memory(torch.zeros(2, 3, 17))
    with pytest.raises(ValueError, match="3 texts read 2 media"):
        decoder.states(
            Words(torch.zeros(3, 1, dtype=torch.long)), decoder.memory(torch.zeros(2, 3, 16))
        )
