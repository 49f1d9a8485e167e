"""The prefix cache changes no result, and finds nothing that is out of date."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from tests.helpers import tiny_retrieval_cfg
from tests.model_helpers import (
    adapter_cfg,
    one_seed,
    outputs,
    randomize,
    same,
    seeded_model,
    tiny_batch,
    tiny_model,
)
from tests.prefix_helpers import FRAMES, build, counts, entries
from uniadapter.models.fast import prefix_cache as module
from uniadapter.models.precision import cast_frozen
from uniadapter.structures import MultimodalSample


def step(model, batch, autocast=False):
    """Losses and gradients of a training step."""
    model.train()
    with one_seed(3), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = model(**batch, mode="loss")
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert sum(bool(g.abs().max() > 0) for g in gradients) > 5
    return [*losses.values(), *gradients]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("adapter", [adapter_cfg(layers="2"), None], ids=["upper", "probe"])
def test_a_step_is_the_same_off_cold_and_warm(tmp_path, adapter, autocast):
    batch = tiny_batch()
    off = step(build(None, adapter=adapter), batch, autocast)
    cold_model, warm_model = (build(tmp_path, adapter=adapter) for _ in range(2))
    assert same(step(cold_model, batch, autocast), off)
    assert same(step(warm_model, batch, autocast), off)
    assert (cold_model.prefix_cache.hits, cold_model.prefix_cache.misses) == (0, FRAMES)
    assert (warm_model.prefix_cache.hits, warm_model.prefix_cache.misses) == (FRAMES, 0)


def test_frozen_layers_are_not_run_on_a_warm_run(tmp_path):
    runs = {}
    for name in ("cold", "warm"):
        model, calls = build(tmp_path), []
        for place in (model.visual.patch_embed, *(layer.attn for layer in model.visual.layers)):
            place.register_forward_hook(lambda owner, *_, calls=calls: calls.append(owner))
        step(model, tiny_batch())
        first, lower, upper = model.visual.patch_embed, *(x.attn for x in model.visual.layers)
        runs[name] = [calls.count(place) for place in (first, lower, upper)]
    assert runs == {"cold": [1, 1, 1], "warm": [0, 0, 1]}


def test_evaluation_is_the_same_and_shares_entries_with_training(tmp_path):
    batch = tiny_batch()
    want = outputs(build(None).eval(), batch)
    model = build(tmp_path)
    step(model, batch)
    assert same(outputs(build(tmp_path).eval(), batch), want)
    assert len(entries(tmp_path)) == FRAMES
    with model.adapter_disabled(), torch.no_grad():
        got = model.encode_frames(batch["pixels"])
        bare = build(None)
        with bare.adapter_disabled():
            assert torch.equal(got, bare.encode_frames(batch["pixels"]))


def test_training_may_do_without(tmp_path):
    batch = tiny_batch()
    model = build(tmp_path, options={"train": False})
    assert same(step(model, batch), step(build(None), batch))
    assert not entries(tmp_path)
    assert counts(model.eval()) == (0, FRAMES)
    assert counts(model) == (FRAMES, 0)


def test_without_a_shared_prefix_both_models_read(tmp_path):
    batch = tiny_batch()
    off = step(build(None, fast=False), batch)
    cold, warm = (step(build(tmp_path, fast=False), batch) for _ in range(2))
    assert same(cold, warm)
    torch.testing.assert_close(warm, off)


def test_an_entry_is_the_frame_s_whatever_batch_it_is_in(tmp_path):
    pixels = tiny_batch(size=4, frames=1)["pixels"]
    model = build(tmp_path).eval()
    with torch.no_grad():
        first = model.encode_frames(pixels[:2])
        second = model.encode_frames(pixels[[3, 0, 2, 2]])
        again = model.encode_frames(pixels[[3, 0, 2, 2]])
    assert torch.equal(second, again)
    torch.testing.assert_close(second[1], first[0])
    torch.testing.assert_close(second[2], second[3])
    assert len(entries(tmp_path)) == 4


def task_config(kind: str, vocab: str, folder: Any) -> dict[str, Any]:
    base = tiny_retrieval_cfg(vocab)
    config = {key: base[key] for key in ("visual", "data_preprocessor")}
    config |= {"type": kind, "adapter": adapter_cfg(layers="2")}
    config["decoder"] = {**base["text"], "type": "BertDecoder"}
    if kind == "VQAModel":
        config["text"] = base["text"]
    return {**config, "prefix_cache": None if folder is None else {"dir": str(folder)}}


@pytest.mark.parametrize("kind", ["VQAModel", "CaptionModel"])
def test_other_tasks_read_it_too(tmp_path, tiny_vocab, kind):
    info = {"text": "a red bar", "answers": ["red"], "answer_weights": [1.0]}
    batch = {"pixels": tiny_batch()["pixels"], "data_samples": []}
    batch["data_samples"] = [MultimodalSample(metainfo=info) for _ in range(3)]
    if kind == "VQAModel":
        batch |= {key: tiny_batch()[key] for key in ("input_ids", "attention_mask")}
    folder = tmp_path / "cache"
    runs = []
    for place in (None, folder, folder):
        model = randomize(seeded_model(task_config(kind, tiny_vocab, place)), std=0.1)
        runs.append(step(model, batch))
    assert same(runs[0], runs[1])
    assert same(runs[1], runs[2])
    assert model.prefix_cache.hits == FRAMES


@pytest.fixture
def tiny_vocab(tmp_path):
    from tests.helpers import write_vocab

    return str(write_vocab(tmp_path / "vocab.txt"))


def edit(model):
    with torch.no_grad():
        model.visual.layers[0].ffn.layers[1].bias[0] += 1e-3


def load(model):
    model.load_state_dict(tiny_model(seed=5, adapter=adapter_cfg(layers="2")).state_dict())


def assign(model):
    state = {name: t.clone() for name, t in model.visual.state_dict().items()}
    state["pos_embed"] = state["pos_embed"] + 1e-3
    model.visual.load_state_dict(state, assign=True)


def interpolate(model):
    model.visual.interpolate_mode = "bilinear"


@pytest.mark.parametrize("change", [edit, load, assign, interpolate])
def test_other_lower_weights_find_nothing(tmp_path, change):
    model = build(tmp_path)
    assert counts(model) == (0, FRAMES)
    assert counts(model) == (FRAMES, 0)
    change(model)
    assert counts(model) == (0, FRAMES)
    assert counts(model) == (FRAMES, 0)


def test_the_weights_are_read_once_while_they_stay(tmp_path, monkeypatch):
    model, sizes = build(tmp_path), []
    plain = module._bytes
    monkeypatch.setattr(module, "_bytes", lambda t: sizes.append(t.shape) or plain(t))
    counts(model)
    assert len(sizes) > FRAMES
    sizes.clear()
    randomize(model)
    counts(model)
    assert len(sizes) == FRAMES


def test_what_is_trained_does_not_matter(tmp_path):
    assert counts(build(tmp_path)) == (0, FRAMES)
    other = randomize(build(tmp_path, adapter=adapter_cfg(layers="2", scale=0.5)), seed=9)
    with torch.no_grad():
        other.visual.layers[1].ffn.layers[1].bias += 1
    assert counts(other) == (FRAMES, 0)


def test_frozen_weights_in_half_precision_are_other_weights(tmp_path):
    model = build(tmp_path)
    counts(model)
    cast_frozen(model, "bfloat16")
    with model.frozen_autocast():
        assert counts(model) == (0, FRAMES)
        assert counts(model) == (FRAMES, 0)
    batch = tiny_batch()
    off = build(None)
    cast_frozen(off, "bfloat16")
    assert same(step(model, batch, autocast=True), step(off, batch, autocast=True))


@pytest.mark.parametrize("what", ["autocast", "stored", "boundary", "matmul"])
def test_other_circumstances_find_nothing(tmp_path, what):
    model = build(tmp_path)
    counts(model)
    if what == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            assert counts(model) == (0, FRAMES)
    elif what == "stored":
        assert counts(build(tmp_path, options={"dtype": "float16"})) == (0, FRAMES)
    elif what == "boundary":
        assert counts(build(tmp_path, adapter=None)) == (0, FRAMES)
    else:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            assert counts(model) == (0, FRAMES)
        finally:
            torch.set_float32_matmul_precision(before)
    assert counts(model) == (FRAMES, 0)


def test_other_pixels_find_nothing(tmp_path):
    model, pixels = build(tmp_path), tiny_batch()["pixels"]
    cache = model.prefix_cache
    with torch.no_grad():
        model.encode_frames(pixels)
        changed = pixels.clone()
        changed[1, 1, 2, 31, 31] += 1e-6
        model.encode_frames(changed)
        assert (cache.hits, cache.misses) == (FRAMES - 1, FRAMES + 1)
        # The same bytes in another shape.
        model.encode_frames(pixels.reshape(3, 2, 3, 16, 64))
        assert (cache.hits, cache.misses) == (FRAMES - 1, 2 * FRAMES + 1)
        model.encode_frames(torch.randn(1, 1, 3, 48, 48))
        model.encode_frames(pixels)
    assert cache.hits == 2 * FRAMES - 1


def test_two_models_share_a_folder(tmp_path):
    models = [build(tmp_path, seed) for seed in (0, 7)]
    want = [outputs(build(None, seed).eval(), tiny_batch()) for seed in (0, 7)]
    for _ in range(2):
        assert all(
            same(outputs(m.eval(), tiny_batch()), w) for m, w in zip(models, want, strict=True)
        )
    assert len(entries(tmp_path)) == 2 * FRAMES
    assert models[0].prefix_cache.hits == models[1].prefix_cache.hits == FRAMES


def test_gradients_of_pixels_go_through_the_tower(tmp_path):
    model = build(tmp_path).eval()
    pixels = tiny_batch()["pixels"].requires_grad_()
    model.encode_frames(pixels).sum().backward()
    assert pixels.grad.abs().max() > 0
    assert not entries(tmp_path)


def test_no_frames_and_copies(tmp_path):
    model = build(tmp_path)
    cache = model.prefix_cache
    assert len(cache(model.visual, torch.zeros(0, 3, 32, 32), 1)) == 0
    counts(model)
    assert counts(copy.deepcopy(model)) == (FRAMES, 0)
