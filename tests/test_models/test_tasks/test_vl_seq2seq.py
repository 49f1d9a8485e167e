"""VL-BART and VL-T5 are what their formulas say, on transformers' own modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.helpers import draws
from tests.vl_helpers import (
    KINDS,
    NEW,
    START,
    WORDS,
    encode,
    inputs,
    logits_of,
    original,
    terms,
    visual,
    vl,
    written_by,
)
from uniadapter.models.execution import Words
from uniadapter.models.generation import GenerationConfig

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=3)
CASE = {
    "kind": st.sampled_from(KINDS),
    "lengths": LENGTHS,
    "pictures": st.integers(1, 2),
    "side": st.integers(1, 4),
    "extra": st.integers(0, 3),
    "prompt": st.integers(0, 3),
    "front": st.integers(0, 2),
    "seed": st.integers(0, 99),
}


def pooled(features: Tensor, side: int) -> Tensor:
    """Every cell the maximum of the features that it covers, by row and column."""
    if side * side == 4:
        return features
    found = []
    for row in range(2):
        for column in range(2):
            rows = range(row * side // 2, -(-(row + 1) * side // 2))
            columns = range(column * side // 2, -(-(column + 1) * side // 2))
            cells = [features[:, :, y * side + x] for y in rows for x in columns]
            found.append(torch.stack(cells).amax(0))
    return torch.stack(found, 2)


def prompts(model: Any, role: str, count: int, seed: int) -> Tensor | None:
    """Tokens in front of a role, which are put there."""
    if not count:
        return None
    found = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    model.places().slots[f"{role}.tokens"][0].fill(lambda: found)
    return found


def both(kind, lengths, pictures, side, extra, prompt, front, seed) -> tuple[Any, ...]:
    """Ours, theirs, and what both encode."""
    model = vl(kind, seed)
    hf = original(model)
    terms(model, hf, seed)
    given_ = inputs(lengths, pictures, side * side, extra, seed)
    ahead = prompts(model, "text", prompt, seed)
    before = prompts(model, "decoder", front, seed + 1)
    seen = visual(model, hf, pooled(given_["features"], side))
    states, mask = encode(hf, given_["input_ids"], given_["attention_mask"], seen, ahead)
    return model, hf, given_, states, mask, before


@settings(max_examples=draws(6), deadline=None)
@given(length=st.integers(1, 4), **CASE)
def test_states_logits_and_gradients_are_those_of_the_formulas(length, **case):
    """Terms in every sub-layer, prompts in front of text and of what is written included."""
    model, hf, given_, states, mask, before = both(**case)
    words = torch.randint(3, WORDS + NEW, (len(states), length))
    want = logits_of(hf, states, mask, words, before)
    found, own_mask = model.encode(**given_)
    assert torch.equal(own_mask, mask.long())
    # What stands at padding is read by nobody.
    assert_close(found[own_mask == 1], states[own_mask == 1], atol=1e-5, rtol=1e-4)
    decoder = model.role("decoder")
    got, _ = decoder.logits(Words(words), decoder.memory(found, own_mask))
    assert_close(got, want, atol=2e-5, rtol=1e-4)
    weights = torch.randn_like(want)
    (want * weights).sum().backward()
    theirs = dict(hf.named_parameters())
    visual_grads = {n: p.grad for n, p in model.visual_embedding.named_parameters()}
    model.zero_grad()
    for parameter in model.parameters():
        parameter.requires_grad_()
    got, _ = decoder.logits(Words(words), decoder.memory(*model.encode(**given_)))
    (got * weights).sum().backward()
    p = "model." if case["kind"] == "Bart" else ""
    own = {n: parameter.grad for n, parameter in model.text.named_parameters()}
    table = torch.cat((own.pop("shared.weight"), own.pop("new_words.weight")))
    assert_close(table, theirs.pop(f"{p}shared.weight").grad, atol=1e-4, rtol=1e-3)
    for name, grad in own.items():
        other = theirs[p + name].grad
        if grad is None or other is None:
            assert grad is None or not grad.any(), name
            continue
        assert_close(grad, other, atol=1e-4, rtol=1e-3, msg=lambda m, name=name: f"{name}: {m}")
    for name, parameter in model.visual_embedding.named_parameters():
        assert_close(parameter.grad, visual_grads[name], atol=1e-4, rtol=1e-3)


@settings(max_examples=draws(6), deadline=None)
@given(beams=st.sampled_from([1, 5]), length=st.integers(3, 12), **CASE)
def test_it_writes_what_transformers_writes(beams, length, **case):
    """With the flags of each backbone; with and without keys and values that are kept."""
    case["front"] = 0
    model, hf, given_, states, mask, _ = both(**case)
    want = written_by(hf, states, mask, beams, length)
    decoder = model.role("decoder")
    with torch.no_grad():
        memory = decoder.memory(*model.encode(**given_))
        rows = decoder.write(memory, GenerationConfig(beams, length, 0))
        again = decoder.write(memory, GenerationConfig(beams, length, 0), use_cache=False)
    assert torch.equal(rows, want)
    assert torch.equal(again, want)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_in_front_of_a_decoder_are_kept_while_it_writes(kind):
    model, hf, given_, states, mask, before = both(kind, [3, 5], 1, 2, 1, 2, 2, 7)
    decoder = model.role("decoder")
    words = torch.full((2, 1), START[kind])
    for _ in range(5):
        with torch.no_grad():
            logits = logits_of(hf, states, mask, words, before)[:, -1]
        words = torch.cat((words, logits.argmax(-1, keepdim=True)), 1)
    with torch.no_grad():
        memory = decoder.memory(*model.encode(**given_))
        for cached in (True, False):
            model.text.ends = type(model.text.ends)(model.text.ends.config, START[kind], 9999, 1)
            assert torch.equal(decoder.write(memory, GenerationConfig(1, 6, 0), cached), words)
        first, past = decoder.logits(Words(words[:, :2]), memory)
        rest, _ = decoder.logits(Words(words[:, 2:]), memory, past)
        whole = logits_of(hf, states, mask, words, before)
    assert_close(torch.cat((first, rest), 1), whole, atol=2e-5, rtol=1e-4)
    mask = torch.ones_like(words)
    with torch.no_grad():
        assert_close(decoder.logits(Words(words, mask), memory)[0], whole, atol=2e-5, rtol=1e-4)
    model.train()
    model.text.grad_checkpointing = True
    with pytest.raises(ValueError, match="Tokens in front of a decoder are kept as keys"):
        decoder.logits(Words(words), memory)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_are_computed_again_give_the_same_gradients(kind):
    given_, grads = inputs([2, 4], 2), []
    for again in (False, True):
        model = vl(kind, train_backbone=True, grad_checkpointing=again).train()
        model.encode(**given_)[0].square().sum().backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    assert len(grads[0]) > 20
    for name in grads[0]:
        assert torch.equal(grads[0][name], grads[1][name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_matrices_of_queries_and_values_are_places(kind):
    model = vl(kind)
    linears = model.places().linears
    stacks = {"text": model.text.encoder, "decoder": model.text.decoder}
    names = {"q": "q_proj", "v": "v_proj"} if kind == "Bart" else {"q": "q", "v": "v"}
    layers = "layers" if kind == "Bart" else "block"
    attention = {
        "Bart": {"": "self_attn", "cross_": "encoder_attn"},
        "T5": {"": "layer.0.SelfAttention", "cross_": "layer.1.EncDecAttention"},
    }[kind]
    for role, stack in stacks.items():
        for index, layer in enumerate(getattr(stack, layers)):
            for key, path in attention.items():
                if key and role == "text":
                    continue
                for name, module in names.items():
                    want = layer.get_submodule(f"{path}.{module}")
                    assert linears[f"{role}.{key}{name}"][index].linear is want


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_text_and_a_wider_batch(kind):
    """Padding behind a text changes nothing for it, whatever else is in the batch."""
    model = vl(kind)
    short, wide = inputs([1], extra=0, seed=4), inputs([1, 6], extra=2, seed=5)
    wide["input_ids"][0, 0] = short["input_ids"][0, 0]
    wide["features"][0] = short["features"][0]
    decoder, words = model.role("decoder"), torch.tensor([[2, 5]])
    with torch.no_grad():
        one = decoder.logits(Words(words), decoder.memory(*model.encode(**short)))[0]
        two = decoder.logits(Words(words.expand(2, -1)), decoder.memory(*model.encode(**wide)))[0]
    assert_close(two[:1], one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_read_where_there_are_some(kind):
    model, given_ = vl(kind), inputs([2, 3], 2)
    hf, boxes = original(model), torch.rand(2, 2, 4, 4)
    seen = visual(model, hf, given_["features"], boxes)
    states, mask = encode(hf, given_["input_ids"], given_["attention_mask"], seen)
    with torch.no_grad():
        found, _ = model.encode(**given_, boxes=boxes)
    assert_close(found[mask == 1], states[mask == 1], atol=1e-5, rtol=1e-4)
    model.encode(**given_)[0].sum().backward()
    places = model.visual_embedding.absolute_vis_pos_embedding[0]
    assert not places.weight.grad.any()
    assert places.bias.grad.any()
