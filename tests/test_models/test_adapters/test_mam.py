"""MAM against attention written out, with prefixes in front of keys and values."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.helpers import draws
from tests.model_helpers import randomize, tiny_batch, tiny_model
from tools.analysis_tools.count_params import count_config
from uniadapter.models.adapters.mam import Prefix
from uniadapter.models.execution import Words
from uniadapter.models.sites import KeySlot

CONFIG = "configs/mam/didemo_r512.py"
SMALL = {"type": "MAM", "prefix": 3, "bottleneck": 4}


def heads(x, number):
    return x.unflatten(-1, (number, -1)).transpose(-2, -3)


def attention(query, key, value, prefix, seen, number):
    """Row by row: softmax over prefix and visible keys, (B, L, D)."""
    rows = []
    for row in range(len(query)):
        keys, values = (
            torch.cat((own, x[row][seen[row].bool()]))
            for own, x in zip(prefix, (key, value), strict=True)
        )
        q, k, v = (heads(t, number) for t in (query[row], keys, values))
        probs = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        rows.append((probs @ v).transpose(0, 1).flatten(1))
    return torch.stack(rows)


def read(block, x, states, prefix, seen):
    own = block.self
    parts = (own.query(x), own.key(states), own.value(states))
    return block.output(attention(*parts, prefix, seen, own.num_heads), x)


def visual_layer(layer, x, prefix, delta):
    n = layer.ln1(x)
    query, key, value = layer.attn.qkv(n).chunk(3, -1)
    seen = torch.ones(x.shape[:2])
    x = x + layer.attn.proj(attention(query, key, value, prefix, seen, layer.attn.num_heads))
    n = layer.ln2(x)
    return x + layer.ffn.layers(n) + delta(n)


def text_layer(layer, x, seen, prefix, delta, states=None, cross=None):
    h = read(layer.attention, x, x, prefix, seen)
    if states is not None:
        h = read(layer.crossattention, h, states, cross, torch.ones(states.shape[:2]))
    out = layer.output.dense(layer.intermediate(h)) + delta(h)
    return layer.output.LayerNorm(out + h)


@pytest.mark.parametrize("options", [{}, {"share_text": False}, {"hidden": 5}])
def test_every_run_is_its_equation(options):
    model = randomize(tiny_model(adapter={**SMALL, **options}, pfa=None)).eval()
    batch, prefixes, units = tiny_batch(frames=1), model.adapter.prefixes, model.adapter.layers
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        x = model.visual.embed(batch["pixels"][:, 0])
        for i, layer in enumerate(model.visual.layers):
            x = visual_layer(layer, x, prefixes["visual_keys"](i), units[str(i)]["visual"])
        tokens = model.visual.ln1(x)
        assert_close(model.encode_frames(batch["pixels"])[:, 0], tokens, atol=1e-5, rtol=1e-4)
        bert = model.text
        x = bert.embeddings(ids)
        for i, layer in enumerate(bert.encoder.layer):
            x = text_layer(layer, x, mask, prefixes["text_keys"](i), units[str(i)]["text"])
        got = model.role("text").states(Words(ids, mask))
        assert_close(got * mask[..., None], x * mask[..., None], atol=1e-5, rtol=1e-4)
        x = bert.embeddings(
            torch.cat((torch.full_like(ids[:, :1], bert.vocab_size - 1), ids[:, 1:]), 1)
        )
        own = prefixes["fusion_keys" if "fusion_keys" in prefixes else "text_keys"]
        assert ("fusion_keys" in prefixes) == (options.get("share_text") is False)
        for i, layer in enumerate(bert.encoder.layer):
            unit, cross = units[str(i)]["fusion"], prefixes["fusion_cross_keys"](i)
            x = text_layer(layer, x, mask, own(i), unit, tokens, cross)
        fusion = model.role("fusion")
        got = fusion.fuse(Words(ids, mask), fusion.memory(tokens), "first")
        assert_close(got, x[:, :1], atol=1e-5, rtol=1e-4)


@settings(max_examples=draws(10))
@given(st.integers(1, 3), st.booleans(), st.booleans(), st.booleans())
def test_a_slot_puts_keys_in_front(length, masked, of_heads, enabled):
    slot, own = KeySlot(6), (torch.randn(length, 6), torch.randn(length, 6))
    key, value = torch.randn(2, 3, 4, 2), torch.randn(2, 3, 4, 2)
    mask = torch.rand(2, 3 if of_heads else 1, 1, 4) > 0.5 if masked else None
    assert all(
        a is b for a, b in zip(slot.extend(key, value, mask), (key, value, mask), strict=True)
    )
    assert slot.local
    slot.fill(lambda: own)
    slot.enabled = enabled
    assert not slot.local
    got = slot.extend(key, value, mask)
    extra = length if enabled else 0
    for tensor, before, prefix in zip(got, (key, value), own, strict=False):
        assert torch.equal(tensor[:, :, extra:], before)
        for row in range(2):
            assert torch.equal(tensor[row, :, :extra], heads(prefix, 3)[:, :extra])
    if masked:
        assert got[2][..., :extra].all()
        assert torch.equal(got[2][..., extra:], mask)
    else:
        assert got[2] is None


def test_a_perceptron_gives_the_prefix_of_every_layer():
    prefix = Prefix([1, 4], 6, 3, hidden=5)
    both = prefix.outer(torch.tanh(prefix.inner(prefix.embedding.weight))).view(3, 2, 2, 6)
    for place, layer in enumerate((1, 4)):
        key, value = prefix(layer)
        assert_close(key, both[:, place, 0])
        assert_close(value, both[:, place, 1])


@pytest.mark.parametrize(
    ("options", "prefix"),
    [
        ({}, 3 * 552_960),
        ({"share_text": False}, 4 * 552_960),
        ({"prefix": 16}, 3 * 294_912),
        ({"prefix": 84}, 3 * 1_548_288),
        ({"hidden": 800}, 3 * 15_402_272),
        ({"hidden": 512}, 3 * 9_872_384),
    ],
)
def test_counts_say_what_each_part_adds(options, prefix):
    counts = count_config(CONFIG, {f"model.adapter.{key}": v for key, v in options.items()})
    assert (counts["adapter"], counts["parallel"]) == (prefix, 28_357_632)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"prefix": 0}, "adapter.prefix=0 must be an int >= 1"),
        ({"hidden": -1}, "adapter.hidden=-1 must be an int >= 0"),
        ({"dropout": 1.0}, r"adapter.dropout=1.0 must be in \[0, 1\)"),
        ({"roles": ["decoder"]}, "adapter.roles='decoder' is unknown"),
        ({"roles": ["text", "text"]}, "name at least one, each once"),
        ({"layers": "3"}, r"layers \[3\] do not exist"),
    ],
)
def test_wrong_options_name_the_key(options, match):
    with pytest.raises(ValueError, match=match):
        tiny_model(adapter={**SMALL, **options})
