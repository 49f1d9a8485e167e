"""Slots and sites: what fills one acts where the table says, whatever paths are fast."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from tests.model_helpers import one_seed, tiny_batch, tiny_model
from uniadapter.models.fast import frozen_layers
from uniadapter.models.sites import Grid, LayerSites, Places, Slot, disabled
from uniadapter.models.taps import Recorder

TEXT = ("attn", "ffn", "after_self")
SITES = [
    *(f"visual.{name}" for name in ("into", "attn", "mid", "ffn", "after_self")),
    *(f"text.{name}" for name in TEXT),
    *(f"fusion.{name}" for name in (*TEXT, "cross", "after_cross")),
]


def test_empty_slot_returns_the_very_tensor():
    out, x = torch.randn(2, 4), torch.randn(2, 4)
    assert Slot(4).add(out, x) is out
    assert Slot(4).term(x) is None


def test_filled_slot_adds_its_term():
    slot = Slot(4)
    slot.fill(lambda x: 2 * x)
    out, x = torch.randn(2, 4), torch.randn(2, 4)
    assert slot.filled
    assert_close(slot.add(out, x), out + 2 * x)


def test_a_use_reads_the_output_or_the_input():
    output, given = torch.ones(1), torch.full((1,), 3.0)
    slot = Slot(1)
    slot.fill(lambda x: 10 * x, reads="input")
    assert slot.add(torch.zeros(1), output, given) == 30
    with pytest.raises(ValueError, match="no input to read"):
        slot.add(torch.zeros(1), output)
    with pytest.raises(ValueError, match="reads='both' is unknown"):
        slot.fill(lambda x: x, "other", reads="both")


def test_uses_have_names_and_one_is_active():
    slot, x = Slot(4), torch.ones(1)
    slot.fill(lambda x: x)
    with pytest.raises(ValueError, match="filled already under the name 'default'"):
        slot.fill(lambda x: x)
    slot.fill(lambda x: -x, "negative")
    assert slot.term(x) == 1
    slot.active = "negative"
    assert slot.term(x) == -1
    slot.clear("negative")
    assert slot.term(x) is None
    assert slot.filled
    slot.clear()
    assert not slot.filled


def test_a_use_that_needs_a_grid_gets_it():
    slot, x = Slot(4), torch.ones(1)
    slot.fill(lambda x, grid: x * grid.height, grid=True)
    assert slot.term(x, grid=Grid(2, 5, 6)) == 5
    with pytest.raises(ValueError, match="how tokens lie in frames"):
        slot.term(x)


def test_output_width_defaults_to_the_input_width():
    assert Slot(4).out_dim == 4
    assert Slot(4, 6).out_dim == 6


def test_a_layer_names_its_sites():
    sites = LayerSites.of(4, "attn", "ffn")
    assert sites.attn is sites.slots["attn"]
    with pytest.raises(AttributeError, match=r"no site 'cross', it has \['attn', 'ffn'\]"):
        _ = sites.cross
    assert sites.filled() == []
    sites.ffn.fill(lambda x: x, local=False)
    assert sites.filled() == ["ffn"]
    assert not sites.local()
    assert copy.deepcopy(sites).filled() == ["ffn"]


def test_a_site_that_a_model_lacks_is_named():
    places = tiny_model(adapter=None).places()
    assert list(places.need("visual.ffn", "Method")) == [0, 1]
    with pytest.raises(ValueError, match=r"Method fills the site 'text\.cross'.*'fusion\.cross'"):
        places.need("text.cross", "Method")
    assert places.of("text.cross", "fusion.cross") is places.slots["fusion.cross"]
    assert places.of("decoder.ffn") == {}


def test_disabled_restores_what_was_off_before():
    first, second = Slot(4), Slot(4)
    for slot in (first, second):
        slot.fill(lambda x: x)
    second.enabled = False

    def fails() -> None:
        with disabled(Places({"a": {0: first}, "b": {3: second}})):
            assert first.term(torch.ones(1)) is None
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fails()
    assert first.enabled
    assert not second.enabled


def mean_of_tokens(x):
    """A term that needs every token of a text or an image."""
    return 0.2 * x.mean(1, keepdim=True).expand_as(x).tanh()


def each_token(x):
    return 0.2 * x.tanh()


def build(fast, site, use, local, reads="output"):
    model = tiny_model(fast=fast, adapter=None)
    for slot in model.places().need(site, "test").values():
        slot.fill(use, local=local, reads=reads)
    return model


def losses(model, batch):
    with one_seed(3):
        return model.train()(**batch, mode="loss")


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("site", SITES)
def test_fast_paths_equal_the_plain_one_at_every_site(site, local):
    batch = tiny_batch(frames=2, length=8)
    # Without padding: what a plain run's mean sees of it is nobody's promise.
    if not local:
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
        batch["input_ids"] = batch["input_ids"].clamp(min=5)
    use = each_token if local else mean_of_tokens
    plain, fast = (build(switch, site, use, local) for switch in (False, True))
    bare = tiny_model(fast=False, adapter=None)
    want = losses(plain, batch)
    assert_close(losses(fast, batch), want, atol=2e-5, rtol=2e-5)
    # The frozen model is another one.
    assert any((losses(bare, batch)[name] - loss).abs() > 1e-5 for name, loss in want.items())
    texts = (batch["input_ids"], batch["attention_mask"])
    with torch.no_grad():
        tokens = plain.eval().encode_visual(batch["pixels"])[0]
        logits = plain.match(*texts, tokens[:1].expand(len(tokens), -1, -1, -1))[:, 1]
        scorer = fast.eval().scorer(*texts)
        scorer.prepare(2)
        assert (scorer.begun is None) == (not local and site.startswith("fusion"))
        got = scorer.score(tokens[0])
        assert_close(got, logits, atol=1e-5, rtol=1e-5)


def hook_term(layer, role, name, reads):
    """Add ``each_token`` to a sub-layer's output by hooks on the modules the equations name."""
    seen = []
    if role == "visual":
        into, last = {"attn": (layer.ln1, layer.attn.proj), "ffn": (layer.ln2, layer.ffn.layers)}[
            name
        ]
        into.register_forward_hook(lambda _, __, y: seen.append(y))
    else:
        block = layer.attention.output if name == "attn" else layer.output
        block.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
        last = block.dense
    last.register_forward_hook(
        lambda _, __, y: y + each_token(y if reads == "output" else seen[-1])
    )


@pytest.mark.parametrize("reads", ["output", "input"])
@pytest.mark.parametrize("site", ["visual.attn", "visual.ffn", "text.attn", "text.ffn"])
def test_parallel_and_sequential_terms_of_a_sub_layer(site, reads):
    batch, (role, name) = tiny_batch(), site.split(".")
    model, bare = build(False, site, each_token, True, reads), tiny_model(fast=False, adapter=None)
    for layer in bare.visual.layers if role == "visual" else bare.text.encoder.layer:
        hook_term(layer, role, name, reads)
    with torch.no_grad():
        if role == "visual":
            got, want = (m.eval().encode_visual(batch["pixels"])[0] for m in (model, bare))
        else:
            texts = (batch["input_ids"], batch["attention_mask"])
            got, want = (m.eval().encode_text(*texts)[0] for m in (model, bare))
    assert_close(got, want, atol=1e-6, rtol=1e-6)


def test_a_visual_tower_tells_how_tokens_lie():
    model, grids = tiny_model(adapter=None), []
    slots = model.places().of("visual.mid")
    slots[0].fill(lambda x, grid: grids.append(grid) or 0 * x, local=False, grid=True)
    model.encode_visual(torch.randn(2, 3, 3, 32, 32))
    assert grids == [Grid(3, 2, 2)]
    assert frozen_layers(model.visual) == 0


def test_layer_states_of_our_towers_are_read_in_one_pass():
    model, batch = tiny_model().eval(), tiny_batch(frames=2)
    visual = Recorder(model.visual.layers)(lambda: model.encode_frames(batch["pixels"]))
    ids, mask = batch["input_ids"], batch["attention_mask"]
    text = Recorder(model.text.encoder.layer)(lambda: model.encode_text(ids, mask)[0])
    for taps, depth in ((visual, 2), (text, 2)):
        assert len(taps.hidden) == depth + 1
        assert not any(state.requires_grad for state in taps.hidden)
    with torch.no_grad():
        assert torch.equal(text.hidden[-1], text.out)
        assert torch.equal(text.hidden[0], model.text.embeddings(ids, 0))
        flat = visual.out.flatten(0, 1)
        assert torch.equal(model.visual.ln1(visual.hidden[-1]), flat)
    with pytest.raises(RuntimeError, match=r"Layers \[1, 2\] .* another number of times"):
        Recorder(model.text.encoder.layer)(lambda: [model.encode_text(ids, mask) for _ in "ab"])
