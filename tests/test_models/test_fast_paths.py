"""Every fast path gives what the plain way gives, gradients included."""

from __future__ import annotations

import copy
from dataclasses import fields

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.testing import assert_close

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import adapter_cfg, one_seed, randomize, tiny_batch, tiny_model
from uniadapter.models.fast import FastPaths, Packing, frozen_layers
from uniadapter.models.fast.prefix import Prefix

NAMES = [field.name for field in fields(FastPaths)]
PFA = [None, {"type": "FrameAwareAttention"}, {"type": "FrameAwareAttention", "variant": "paper"}]
ADAPTERS = [
    None,
    adapter_cfg(),
    adapter_cfg(layers="2"),
    adapter_cfg(variant="released", kv_rank=4),
]


def no_dropout() -> dict:
    return {**tiny_retrieval_cfg()["text"], "dropout": 0.0, "attention_dropout": 0.0}


def build(fast, **overrides):
    return randomize(tiny_model(fast=fast, text=no_dropout(), **overrides), std=0.1)


def losses_and_gradients(model, batch):
    model.train()
    with one_seed(3):
        losses = model(**batch, mode="loss")
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return losses, gradients


def assert_same_step(fast, **overrides):
    batch = tiny_batch(frames=3)
    want, want_gradients = losses_and_gradients(build(False, **overrides), batch)
    got, got_gradients = losses_and_gradients(build(fast, **overrides), batch)
    assert_close(got, want, atol=2e-5, rtol=2e-5)
    assert set(got_gradients) == set(want_gradients)
    moved = 0
    for name, gradient in want_gradients.items():
        if gradient is None:
            assert got_gradients[name] is None, name
            continue
        moved += bool(gradient.abs().max() > 1e-6)
        scale = float(gradient.abs().max().clamp(min=1e-3))
        assert_close(got_gradients[name] / scale, gradient / scale, atol=1e-4, rtol=0)
    assert moved


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pfa", PFA[1:], ids=["released", "paper"])
def test_a_training_step_with_one_fast_path_equals_the_plain_one(name, pfa):
    only = {other: other == name for other in NAMES}
    assert_same_step(only, adapter=adapter_cfg(), pfa=pfa)


@pytest.mark.parametrize("pfa", PFA, ids=["none", "released", "paper"])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=["probe", "all", "upper", "kv"])
def test_a_training_step_with_all_fast_paths_equals_the_plain_one(adapter, pfa):
    assert_same_step(True, adapter=adapter, pfa=pfa)


def test_full_fine_tuning_has_no_prefix_to_share():
    assert_same_step(True, adapter=None, train_backbone=True)
    model = tiny_model(adapter=None, train_backbone=True)
    assert Prefix.of(model.visual, tiny_batch()["pixels"][:, 0], None) is None


@pytest.mark.parametrize("checkpointing", [False, True])
def test_fast_paths_work_with_gradient_checkpointing(checkpointing):
    assert_same_step(True, adapter=adapter_cfg(), grad_checkpointing=checkpointing)


@pytest.mark.parametrize(
    ("adapter", "layer", "has_residual"),
    [(adapter_cfg(), 1, True), (adapter_cfg(layers="2"), 2, True), (None, 2, False)],
)
def test_the_prefix_ends_at_the_first_trained_term(adapter, layer, has_residual):
    model = tiny_model(adapter=adapter).train()
    prefix = Prefix.of(model.visual, tiny_batch()["pixels"][:, 0], None)
    assert prefix.layer == layer
    assert (prefix.residual is not None) == has_residual
    assert not prefix.x.requires_grad


def test_the_prefix_runs_once_for_both_models(monkeypatch):
    counts = {}
    for fast in (True, False):
        model = build(fast, adapter=adapter_cfg(layers="2")).train()
        calls = []
        attn = model.visual.layers[0].attn
        attn.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        model(**tiny_batch(), mode="loss")
        counts[fast] = len(calls)
    assert counts == {True: 1, False: 2}


@pytest.mark.parametrize("adapter", [adapter_cfg(), adapter_cfg(layers="2"), None])
def test_a_gradient_to_the_pixels_is_that_of_the_plain_way(adapter):
    found = []
    for fast in (False, True):
        batch = tiny_batch()
        batch["pixels"].requires_grad_()
        losses_and_gradients(build(fast, adapter=adapter), batch)
        found.append(batch["pixels"].grad)
    assert found[0].abs().max() > 1e-6
    scale = found[0].abs().max()
    assert_close(found[1] / scale, found[0] / scale, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [None, *NAMES])
def test_two_passes_may_come_before_a_backward_one(name):
    """As where a step accumulates: the second pass changes nothing that the first one kept."""
    batches = [tiny_batch(), tiny_batch(size=4, seed=9)]
    found = []
    for together in (False, True):
        fast = name is None or {other: other == name for other in NAMES}
        # So warm that every step clamps it.
        model = build(fast, temperature=0.7).train()
        losses = []
        for batch in batches:
            losses.append(sum(model(**batch, mode="loss").values()))
            if not together:
                losses[-1].backward()
        if together:
            sum(losses).backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert set(found[0]) == set(found[1])
    for parameter, gradient in found[0].items():
        scale = gradient.abs().max().clamp(min=1e-3)
        assert_close(found[1][parameter] / scale, gradient / scale, atol=1e-5, rtol=0)


def test_stochastic_depth_is_not_shared():
    visual = {**tiny_retrieval_cfg()["visual"], "drop_path_rate": 0.5}
    model = tiny_model(visual=visual, adapter=None)
    assert frozen_layers(model.train().visual) == 1
    assert frozen_layers(model.eval().visual) == 2


@pytest.mark.parametrize("lora", [False, True])
def test_the_class_token_alone_is_that_of_all_tokens(lora):
    visual = tiny_model().visual.eval()
    plain = copy.deepcopy(visual)
    if lora:
        config = LoraConfig(r=2, target_modules=["qkv"], init_lora_weights=False)
        visual = inject_adapter_in_model(config, visual)
    images = tiny_batch()["pixels"][:, 0]
    with torch.no_grad():
        want = visual.tokens(images)[:, :1]
        assert_close(visual.tokens(images, "first"), want, atol=1e-5, rtol=1e-5)
        assert torch.allclose(plain.tokens(images)[:, :1], want, atol=1e-3) != lora


@pytest.mark.parametrize("pfa", PFA, ids=["none", "released", "paper"])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=["probe", "all", "upper", "kv"])
@pytest.mark.parametrize("chunk", [2, 256])
def test_packed_scores_equal_those_of_copies(adapter, pfa, chunk):
    batch = tiny_batch(size=5, frames=3, length=7)
    texts = (batch["input_ids"], batch["attention_mask"])
    scores, spread = [], 0.0
    for fast in (False, {"first_layer_once": False}, True):
        model = build(fast, adapter=adapter, pfa=pfa).eval()
        with torch.no_grad():
            tokens, _, frames = model.encode_visual(batch["pixels"])
            states, features = model.encode_text(*texts)
            sims = model.frame_sims(tokens[:, :, 0], frames, states[:, 0], features)
            one = None if sims is None else 5 * sims[:, 1]
            scorer = model.scorer(*texts, chunk)
            scorer.prepare(2)
            begun = getattr(scorer, "begun", None)
            assert (begun is not None) == (fast is True)
            if begun is not None:
                assert len(begun) == texts[1].sum()
            scores.append(scorer.score(tokens[1], frame_sims=one))
        spread = float(scores[0].std())
    assert spread > 1e-4
    assert_close(scores[1], scores[0], atol=1e-5, rtol=1e-5)
    assert_close(scores[2], scores[0], atol=1e-5, rtol=1e-5)


def test_padding_on_the_left_is_scored_without_packing():
    model, batch = build(True, adapter=adapter_cfg()).eval(), tiny_batch()
    ids, mask = batch["input_ids"].flip(1), batch["attention_mask"].flip(1)
    with torch.no_grad():
        tokens, _, _ = model.encode_visual(batch["pixels"])
        scorer = model.scorer(ids, mask)
        scorer.prepare(2)
        assert scorer.begun is None
        got = scorer.score(tokens[0])
        copies = tokens[:1].expand(len(ids), -1, -1, -1)
        assert_close(got, model.match(ids, mask, copies)[:, 1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("limit", [1, 1 << 22])
def test_weighted_attention_in_parts_equals_it_at_once(limit, monkeypatch):
    from uniadapter.models.fast import memory

    batch = tiny_batch(size=4, frames=2)
    texts = (batch["input_ids"], batch["attention_mask"])
    model = build(True, adapter=adapter_cfg()).eval()
    with torch.no_grad():
        tokens, _, _ = model.encode_visual(batch["pixels"])
        sims = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
        want = model.match(*texts, tokens[:1].expand(4, -1, -1, -1), sims)[:, 1]
        monkeypatch.setitem(memory._LOGITS_AT_ONCE, "cpu", limit)
        assert_close(model.score_texts(tokens[0], *texts, sims), want, atol=1e-5, rtol=1e-5)


def test_packing_and_unpacking():
    lengths = torch.tensor([3, 1, 2])
    packing = Packing.of(lengths)
    x = torch.arange(9.0).view(3, 3, 1)
    row = packing.pack(x)
    assert row.flatten().tolist() == [0, 1, 2, 3, 6, 7]
    back = packing.unpack(row)[..., 0]
    assert torch.equal(back[packing.mask], row.flatten())
    assert packing.first.tolist() == [0, 3, 4]
    mask = torch.tensor([[1, 1, 0], [1, 0, 1]])
    assert Packing.lengths(mask) is None
    assert Packing.lengths(mask[:1]).tolist() == [2]
    assert Packing.lengths(torch.zeros(1, 3)) is None


def test_packing_by_medium_puts_a_mediums_tokens_side_by_side():
    packing = Packing.of(torch.tensor([3, 1, 2]))
    grid = packing.by_medium(torch.tensor([1, 0, 1]), 3)
    row = torch.arange(1.0, 7).view(1, 6, 1)
    apart = grid.unpack(row)
    assert apart[..., 0].tolist() == [[4, 0, 0, 0, 0], [1, 2, 3, 5, 6], [0, 0, 0, 0, 0]]
    assert torch.equal(grid.mask, apart[..., 0] > 0)
    assert torch.equal(grid.pack(apart), row)
    assert grid.text.tolist() == [0, 0, 0, 1, 2, 2]


def test_texts_are_packed_where_it_is_of_use():
    padded, full = torch.tensor([[1, 1, 0], [1, 1, 1]]), torch.ones(2, 3)
    assert Packing.of_mask(None, True) is None
    assert Packing.of_mask(full, True) is None
    assert Packing.of_mask(padded.flip(1), False) is None
    for mask, padded_only in ((padded, True), (padded, False), (full, False)):
        assert Packing.of_mask(mask, padded_only).mask.tolist() == mask.bool().tolist()


def test_gradients_of_packing_equal_finite_differences():
    packing = Packing.of(torch.tensor([2, 1])).by_medium(torch.tensor([1, 0]), 2)
    row = torch.randn(1, 3, 2, dtype=torch.double, requires_grad=True)
    padded = torch.randn(2, 2, 2, dtype=torch.double, requires_grad=True)
    for run, x in ((packing.unpack, row), (packing.pack, padded)):
        assert torch.autograd.gradcheck(run, x)
        assert torch.autograd.gradgradcheck(run, x)


@pytest.mark.parametrize("pack", [False, True])
def test_padding_computes_nothing_where_texts_are_packed(pack):
    model, batch = build({"pack_texts": pack}, adapter=adapter_cfg()).train(), tiny_batch()
    rows = []
    dense = model.text.encoder.layer[0].intermediate.dense
    dense.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[:-1].numel()))
    model.encode_text(batch["input_ids"], batch["attention_mask"], class_only=True)
    mask = batch["attention_mask"]
    assert mask.sum() < mask.numel()
    assert rows == [int(mask.sum()) if pack else mask.numel()]


def test_switches_are_read_from_the_config():
    assert FastPaths.build(None) == FastPaths.build(True) == FastPaths()
    assert not any(getattr(FastPaths.build(False), name) for name in NAMES)
    assert FastPaths.build({"share_kv": False}) == FastPaths(share_kv=False)
    with pytest.raises(ValueError, match=r"model\.fast\.kv is unknown: choose from"):
        FastPaths.build({"kv": True})
    with pytest.raises(ValueError, match=r"model\.fast\.share_kv=1 must be True or False"):
        FastPaths.build({"share_kv": 1})
