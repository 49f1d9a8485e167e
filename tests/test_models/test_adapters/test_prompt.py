"""Prompts against runs of the bare towers on tokens that are put together by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.helpers import draws
from tests.model_helpers import randomize, tiny_batch, tiny_model
from tests.test_models.test_adapters import contract_models
from tools.analysis_tools.count_params import count_config
from uniadapter.models.execution import Words
from uniadapter.models.sites import TokenSlot

CONFIG = "configs/prompt/didemo.py"
# Words that no text of `tiny_batch` has.
UNUSED = [1, 2, 3]


def pair(role, **options):
    """A model with prompts, and a bare one that knows those of a role as words."""
    numbers = {"text": 3, "visual": 2, **options}
    model = randomize(tiny_model(adapter={"type": "Prompt", **numbers}, pfa=None)).eval()
    bare = tiny_model(adapter=None, pfa=None, fast=False).eval()
    bare.load_state_dict(model.state_dict(), strict=False)
    if role != "visual":
        with torch.no_grad():
            words = bare.text.embeddings.word_embeddings.weight
            words[UNUSED] = model.adapter.prompts[role]
    return model, bare


def longer(ids, mask):
    extra = torch.tensor(UNUSED).expand(len(ids), -1)
    ids = torch.cat((ids[:, :1], extra, ids[:, 1:]), 1)
    return Words(ids, torch.cat((mask[:, :1], torch.ones_like(extra), mask[:, 1:]), 1))


def without(states):
    return torch.cat((states[:, :1], states[:, 1 + len(UNUSED) :]), 1)


@pytest.mark.parametrize("want", ["all", "first"])
def test_prompts_of_a_text_are_words_behind_the_first(want):
    model, bare = pair("text")
    batch = tiny_batch()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        got = model.role("text").states(Words(ids, mask), want)
        expected = without(bare.role("text").states(longer(ids, mask)))
    seen = mask[..., None] if want == "all" else 1
    assert_close(got * seen, expected[:, : got.shape[1]] * seen, atol=1e-5, rtol=1e-4)


def test_prompts_of_a_run_that_reads_are_its_own():
    model, bare = pair("fusion", visual=0)
    batch = tiny_batch()
    words, tokens = Words(batch["input_ids"], batch["attention_mask"]), torch.randn(3, 5, 32)
    with torch.no_grad():
        fusion, plain = model.role("fusion"), bare.role("fusion")
        got = fusion.fuse(words, fusion.memory(tokens), "first")
        begun = fusion.finish(fusion.begin(words), fusion.memory(tokens), "first")
        want = plain.fuse(longer(*words), plain.memory(tokens), "first")
        scores = model.score_texts(tokens[:1], *words)
        pairs = fusion.fuse(words, fusion.memory(tokens[:1].expand(3, -1, -1)), "first")
    assert_close(got, want, atol=1e-5, rtol=1e-4)
    assert_close(begun, want, atol=1e-5, rtol=1e-4)
    assert_close(scores, model.matching(pairs[:, 0])[:, 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("want", ["all", "first"])
def test_prompts_of_a_picture_come_in_front_of_the_layers(want):
    model, bare = pair("visual", text=0)
    pixels = tiny_batch()["pixels"]
    with torch.no_grad():
        got = model.execution.visual(model.visual, pixels, want).flatten(0, 1)
        x = bare.visual.embed(pixels.flatten(0, 1))
        extra = model.adapter.prompts["visual"].expand(len(x), -1, -1)
        x = torch.cat((x[:, :1], extra, x[:, 1:]), 1)
        for layer in bare.visual.layers:
            x = layer(x)
        want_all = bare.visual.ln1(torch.cat((x[:, :1], x[:, 3:]), 1))
    assert_close(got, want_all[:, : got.shape[1]], atol=1e-5, rtol=1e-4)


def test_deep_prompts_take_the_place_of_what_became_of_those_before():
    model = randomize(
        tiny_model(adapter={"type": "Prompt", "text": 0, "visual": 3, "deep": True}, pfa=None)
    ).eval()
    bare = tiny_model(adapter=None, pfa=None, fast=False).eval()
    bare.load_state_dict(model.state_dict(), strict=False)
    pixels = tiny_batch()["pixels"]
    sets = [model.adapter.prompts["visual"], *model.adapter.deeper["visual"]]
    assert len(sets) == 2
    with torch.no_grad():
        x = bare.visual.embed(pixels.flatten(0, 1))
        for layer, prompts in zip(bare.visual.layers, sets, strict=True):
            extra = prompts.expand(len(x), -1, -1)
            x = layer(torch.cat((x[:, :1], extra, x[:, 1:]), 1))
            x = torch.cat((x[:, :1], x[:, 4:]), 1)
        want = bare.visual.ln1(x)
        for number in ("all", "first"):
            got = model.execution.visual(model.visual, pixels, number).flatten(0, 1)
            assert_close(got, want[:, : got.shape[1]], atol=1e-5, rtol=1e-4)
        with model.adapter_disabled():
            frozen = model.encode_frames(pixels).flatten(0, 1)
        assert_close(frozen, bare.encode_frames(pixels).flatten(0, 1))


@pytest.mark.parametrize("deep", [False, True])
def test_prompts_of_both_towers_of_beit3(deep, tmp_path):
    adapter = {"type": "Prompt", "text": 3, "visual": 2, "deep": deep}
    model = randomize(contract_models.beit3(adapter, tmp_path)).eval()
    bare = contract_models.beit3(None, tmp_path, fast=False).eval()
    bare.load_state_dict(model.state_dict(), strict=False)
    batch = tiny_batch()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    prompts = model.adapter.prompts
    with torch.no_grad():
        bare.text.embeddings.word_embeddings.weight[UNUSED] = prompts["text"]
        got = model.role("text").states(Words(ids, mask))
        want = without(bare.role("text").states(longer(ids, mask)))
        first = model.role("text").states(Words(ids, mask), "first")
        assert_close(got * mask[..., None], want * mask[..., None], atol=1e-5, rtol=1e-4)
        assert_close(first[:, 0], want[:, 0], atol=1e-5, rtol=1e-4)
        tower, images = bare.visual, batch["pixels"].flatten(0, 1)
        x = tower.patch_embed(images).flatten(2).transpose(1, 2)
        x = torch.cat((tower.cls_token.expand(len(x), -1, -1), x), 1) + tower.pos_embed
        sets = [prompts["visual"], *(model.adapter.deeper["visual"] if deep else [None])]
        for layer, own in zip(tower.layers, sets, strict=True):
            if own is not None:
                x = x if own is sets[0] else torch.cat((x[:, :1], x[:, 3:]), 1)
                x = torch.cat((x[:, :1], own.expand(len(x), -1, -1), x[:, 1:]), 1)
            x = layer(x)
        want = tower.norm(torch.cat((x[:, :1], x[:, 3:]), 1))
        assert_close(model.visual.tokens(images), want, atol=1e-5, rtol=1e-4)


def plain(out):
    """A layer's output, which older versions of transformers put into a tuple."""
    return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_prompts_of_both_towers_of_clip(deep, recompute, tmp_path):
    adapter = {"type": "Prompt", "text": 3, "visual": 2, "deep": deep}
    model = randomize(
        contract_models.clip(adapter, tmp_path, grad_checkpointing=recompute), std=0.1
    )
    model.train(recompute)
    bare = contract_models.clip(None, tmp_path).eval()
    bare.load_state_dict(model.state_dict(), strict=False)
    batch = tiny_batch()
    # The last word ends a text.
    ids, mask, end = batch["input_ids"], batch["attention_mask"], model.text.vocab_size - 1
    ids[:, 3] = end
    prompts = model.adapter.prompts
    with torch.no_grad():
        bare.text.model.embeddings.token_embedding.weight[UNUSED] = prompts["text"]
    got = model.role("text").states(Words(ids, mask))
    want = bare.role("text").states(longer(ids, mask))
    want = torch.cat((want[:, :1], without(want[:, 1:])), 1)
    assert_close(got, want, atol=1e-5, rtol=1e-4)
    assert_close(model.role("text").states(Words(ids, mask), "first"), got[:, :1])
    images, tower = batch["pixels"].flatten(0, 1), bare.visual.model
    x = tower.pre_layrnorm(tower.embeddings(images))
    sets = [prompts["visual"], *(model.adapter.deeper["visual"] if deep else [None])]
    for layer, own in zip(bare.visual.layers, sets, strict=True):
        if own is not None:
            x = x if own is sets[0] else torch.cat((x[:, :1], x[:, 3:]), 1)
            x = torch.cat((x[:, :1], own.expand(len(x), -1, -1), x[:, 1:]), 1)
        x = plain(layer(x, None))
    want = tower.post_layernorm(torch.cat((x[:, :1], x[:, 3:]), 1))
    seen = model.visual.tokens(images)
    assert_close(seen, want, atol=1e-5, rtol=1e-4)
    (seen.sum() + got.sum()).backward()
    assert all(p.grad.any() for p in model.adapter.parameters())
    model.zero_grad()
    for slot in model.places():
        slot.clear()
    assert not any(layer._forward_pre_hooks for layer in model.visual.layers)


def test_clip_has_no_room_for_prompts_behind_its_positions(tmp_path):
    model = contract_models.clip({"type": "Prompt"}, tmp_path)
    ids = torch.full((1, 70), 7)
    with pytest.raises(ValueError, match="A text of 86 tokens exceeds the 77 positions"):
        model.role("text").states(Words(ids, torch.ones_like(ids)))


def test_beit3_has_no_room_for_prompts_behind_its_positions(tmp_path):
    model = contract_models.beit3({"type": "Prompt"}, tmp_path)
    ids = torch.full((1, 1020), 7)
    with pytest.raises(ValueError, match="A text of 1036 tokens exceeds the 1022 positions"):
        model.role("text").states(Words(ids, torch.ones_like(ids)))


@settings(max_examples=draws(10))
@given(st.integers(1, 3), st.integers(1, 4), st.booleans())
def test_a_slot_puts_tokens_behind_the_first(number, length, enabled):
    slot, x, mask = TokenSlot(5), torch.randn(2, length, 5), torch.rand(2, length) > 0.5
    assert slot.extend(x) is x
    assert slot.longer(mask) is mask
    assert slot.drop(x) is x
    own = torch.randn(number, 5)
    slot.fill(lambda: own)
    slot.enabled = enabled
    assert torch.equal(slot.drop(slot.extend(x)), x)
    if not enabled:
        assert slot.extend(x) is x
        return
    assert not slot.local
    assert torch.equal(slot.extend(x)[:, 1 : 1 + number], own.expand(2, -1, -1))
    got = slot.longer(mask)
    assert got[:, 1 : 1 + number].all()
    assert torch.equal(slot.drop(got[..., None])[..., 0], mask)


def test_a_text_of_all_positions_has_no_room_for_prompts():
    model, _ = pair("text")
    ids = torch.full((1, 38), 7)
    with pytest.raises(ValueError, match="A text of 41 tokens exceeds the 40 positions"):
        model.role("text").states(Words(ids, torch.ones_like(ids)))


@pytest.mark.parametrize(
    ("options", "adapter"),
    [
        ({}, 2 * 16 * 768 + 10 * 768),
        ({"text": 0}, 7_680),
        ({"visual": 50, "text": 0}, 38_400),
        ({"visual": 50, "text": 0, "deep": True}, 460_800),
        ({"visual": 10, "text": 0, "deep": True}, 92_160),
    ],
)
def test_counts(options, adapter):
    counts = count_config(CONFIG, {f"model.adapter.{key}": v for key, v in options.items()})
    assert counts["adapter"] == adapter


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"text": -1}, "adapter.text=-1 must be an int >= 0"),
        ({"visual": 1.5}, "adapter.visual=1.5 must be an int >= 0"),
        ({"text": 0, "visual": 0}, "choose numbers that act"),
        ({"visual": 0, "deep": True}, "adapter.deep=True puts vectors"),
    ],
)
def test_wrong_options_name_the_key(options, match):
    with pytest.raises(ValueError, match=match):
        tiny_model(adapter={"type": "Prompt", **options})
