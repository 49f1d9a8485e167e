"""BART is transformers' own, with sites, and one table of words."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.helpers import draws
from tests.t5_helpers import sources
from uniadapter.apis.model import build_model
from uniadapter.models.components import count_parameters
from uniadapter.models.execution import Words
from uniadapter.models.generation import GenerationConfig, generate

SIZES = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24}
VOCAB = 60
LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=3)


def bart(seed: int = 0, **options: Any) -> Any:
    """A model of texts alone, with weights that matter."""
    torch.manual_seed(seed)
    text = {"type": "Bart", "arch": SIZES, "vocab_size": VOCAB, "dropout": 0.0}
    text.update(options.pop("text", {}))
    model = build_model({"type": "Seq2SeqModel", "text": text, **options})
    with torch.no_grad():
        for parameter in model.text.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        model.text.final_logits_bias.normal_()
    return model.eval()


def original(model: Any) -> Any:
    """transformers' own model on the weights of ours."""
    from transformers import BartForConditionalGeneration

    found = BartForConditionalGeneration(deepcopy(model.text.ends.config))
    state = {f"model.{name}": tensor for name, tensor in model.text.state_dict().items()}
    state["final_logits_bias"] = state.pop("model.final_logits_bias")
    left = found.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    found.tie_weights()
    return found.eval()


@settings(max_examples=draws(4), deadline=None)
@given(
    lengths=LENGTHS,
    extra=st.integers(0, 2),
    parts=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_states_and_logits_are_transformers_own(lengths, extra, parts, seed):
    """All words at once, or some at a time with what is kept of those before."""
    model = bart(seed)
    ids, mask = sources(lengths, seed, extra, VOCAB)
    words, _ = sources([sum(parts)] * len(lengths), seed + 1, vocab_size=VOCAB)
    decoder, past, found = model.role("decoder"), None, []
    with torch.no_grad():
        want = original(model)(
            input_ids=ids, attention_mask=mask, decoder_input_ids=words, use_cache=False
        )
        states, _ = model.encode(ids, mask)
        memory = decoder.memory(states, mask)
        got, _ = decoder.logits(Words(words), memory)
        for part in words.split(parts, 1):
            new, past = decoder.logits(Words(part), memory, past)
            found.append(new)
    assert torch.equal(states, want.encoder_last_hidden_state)
    assert torch.equal(got, want.logits)
    assert_close(torch.cat(found, 1), want.logits, atol=1e-5, rtol=1e-4)


@settings(max_examples=draws(4), deadline=None)
@given(lengths=LENGTHS, beams=st.integers(1, 4), length=st.integers(3, 9), seed=st.integers(0, 99))
def test_both_ways_of_writing_agree(lengths, beams, length, seed):
    """This package's own and transformers', without the flags that only the latter has."""
    model = bart(seed, text={"no_repeat": 0, "early_stopping": False})
    model.text.ends = type(model.text.ends)(model.text.ends.config, 2, 2, 1)
    ids, mask = sources(lengths, seed, vocab_size=VOCAB)
    decoder, prompt = model.role("decoder"), torch.full((len(ids), 1), 2)
    config = GenerationConfig(beams, length, 0)
    with torch.no_grad():
        memory = decoder.memory(*model.encode(ids, mask))
        own = generate(decoder, prompt, memory, config, 2, 1)
        theirs = decoder.write(memory, config)
    # Behind an end beams write what they like.
    for x in (own, theirs):
        ends = (x[:, 1:] == 2).long()
        x[:, 1:].masked_fill_(ends.cumsum(1) > ends, 1)
    assert torch.equal(own[:, : theirs.shape[1]], theirs)
    assert bool((own[:, theirs.shape[1] :] == 1).all())


def test_the_table_is_registered_saved_and_counted_once():
    model = bart()
    tables = [n for n, t in model.state_dict().items() if t.shape == (VOCAB, 16)]
    assert tables == ["text.shared.weight"]
    assert count_parameters(model)["total"] == sum(p.numel() for p in original(model).parameters())


def test_published_sizes():
    for arch, total in (("base", 139_420_416), ("large", 406_291_456)):
        with torch.device("meta"):
            model = build_model({"type": "Seq2SeqModel", "text": {"type": "Bart", "arch": arch}})
        assert count_parameters(model)["total"] == total


def test_a_copy_writes_with_its_own_weights():
    model = bart()
    ids, mask = sources([3, 5], vocab_size=VOCAB)
    clone = deepcopy(model)
    config = GenerationConfig(2, 6, 0)

    def written(one: Any) -> torch.Tensor:
        decoder = one.role("decoder")
        with torch.no_grad():
            return decoder.write(decoder.memory(*one.encode(ids, mask)), config)

    before = written(model)
    with torch.no_grad():
        for parameter in clone.parameters():
            parameter.normal_()
    assert not torch.equal(written(clone), before)
    assert torch.equal(written(model), before)


def test_a_text_has_places_up_to_the_last():
    model = bart(text={"max_positions": 4})
    ids = torch.full((1, 5), 7)
    with pytest.raises(ValueError, match="A text of 5 tokens exceeds the 4 positions"):
        model.role("text").stream(Words(ids), torch.zeros(1, 1, 16))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ({"arch": "huge"}, "arch='huge' is unknown: choose from"),
        ({"arch": {**SIZES, "head_dim": 3}}, "must have whole numbers above 0 for"),
        ({"arch": {**SIZES, "num_heads": 3}}, "divisible by"),
    ],
)
def test_wrong_sizes_are_refused(text, match):
    with pytest.raises(ValueError, match=match):
        bart(text=text)
