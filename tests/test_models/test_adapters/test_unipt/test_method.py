"""UniPT on the package's tasks: against the formulas, without a gradient in a tower."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from mmengine.config import Config
from torch import Tensor
from torch.nn import functional as F

from tests.helpers import ROOT, tiny_retrieval_cfg
from tests.model_helpers import outputs, randomize, same, seeded_model, sgd_steps, tiny_batch
from tests.spawn import spawn
from tests.test_models.test_adapters import contract_models
from tests.test_models.test_adapters.test_unipt import reference
from tests.test_models.test_tasks.test_retrieval_processes import batch as long_batch
from tests.test_models.test_tasks.test_retrieval_processes import shard, step
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.models.components import count_parameters
from uniadapter.models.execution import Words
from uniadapter.models.taps import Recorder

EMBEDDING = {
    "order": "act-linear",
    "residual": "index",
    "projection": "none",
    "add_query": False,
    "out_act": True,
    "out_norm": False,
    "out_residual": True,
    "every_tap": False,
    "eps": 1e-6,
    "eps_mode": "clamp",
    "confidence": "gate",
    "causal": False,
}
STATES = {
    **EMBEDDING,
    "order": "linear-norm",
    "norm": "layer",
    "residual": "identity",
    "projection": "mlp",
    "add_query": True,
    "out_act": False,
    "out_residual": False,
    "eps_mode": "add",
}


def tiny(seed: int = 0, **overrides: Any) -> Any:
    adapter = {"type": "UniPT", **overrides.pop("adapter", {})}
    return seeded_model(tiny_retrieval_cfg(adapter=adapter, **overrides), seed).eval()


def weights(model: Any, role: str) -> dict[str, Tensor]:
    return dict(model.adapter.sides[role].named_parameters())


def hidden(layers: Any, run: Any) -> list[Tensor]:
    """States of the layers of a bare tower."""
    return list(Recorder(list(layers))(run).hidden)


CHOICES = pytest.mark.parametrize(
    ("adapter", "changes", "chosen"),
    [
        ({}, {}, (0, 1, 2)),
        ({"taps": "1-2", "side_dim": 5, "reduction": 4}, {}, (1, 2)),
        ({"confidence": "uniform"}, {"confidence": "uniform"}, (0, 1, 2)),
        ({"identity": False}, {"residual": "none"}, (0, 1, 2)),
    ],
)


@CHOICES
def test_features_are_the_formula_frame_by_frame(
    adapter: dict[str, Any], changes: dict[str, Any], chosen: tuple[int, ...]
):
    """z + U(relu(F)) of every frame and text, z being the frozen embedding; videos are means."""
    model, batch = randomize(tiny(fast=False, adapter=adapter)), tiny_batch()
    options = {**EMBEDDING, "out_dim": 16, **changes}
    pixels, ids, mask = batch["pixels"], batch["input_ids"], batch["attention_mask"]
    images = pixels.flatten(0, 1)
    with torch.no_grad(), model.adapter_disabled():
        taps = hidden(model.visual.layers, lambda: model.visual.tokens(images))
        z = model.vision_proj(model.visual.tokens(images)[:, 0])
        text_taps = hidden(
            model.text.encoder.layer, lambda: model.role("text").states(Words(ids, mask))
        )
        text_z = model.text_proj(model.role("text").states(Words(ids, mask))[:, 0])
    with torch.no_grad():
        ones, first = torch.ones(taps[0].shape[:2]), torch.zeros(len(images), dtype=torch.long)
        frames = reference.forward(
            weights(model, "visual"), options, [taps[i] for i in chosen], z, ones, first
        )
        frames = frames.unflatten(0, pixels.shape[:2])
        first = torch.zeros(len(ids), dtype=torch.long)
        text = reference.forward(
            weights(model, "text"), options, [text_taps[i] for i in chosen], text_z, mask, first
        )
        tokens, video, frame_features = model.encode_visual(pixels)
        _, text_features = model.encode_text(ids, mask, class_only=True)
    close = {"atol": 2e-5, "rtol": 1e-4}
    torch.testing.assert_close(frame_features, F.normalize(frames, dim=-1), **close)
    torch.testing.assert_close(video, F.normalize(frames.mean(1), dim=-1), **close)
    torch.testing.assert_close(text_features, F.normalize(text, dim=-1), **close)
    # What texts read are the frozen tokens.
    with model.adapter_disabled():
        assert torch.equal(tokens, model.encode_visual(pixels)[0])


@CHOICES
def test_matching_is_the_formula(
    adapter: dict[str, Any], changes: dict[str, Any], chosen: tuple[int, ...]
):
    """The token form over the fusion's states, read by the matching head at the first token."""
    model = randomize(tiny(fast=False, pfa=None, adapter=adapter))
    batch = tiny_batch(frames=1)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        tokens, _, _ = model.encode_visual(batch["pixels"])
        with model.adapter_disabled():
            fusion = model.role("fusion")
            memory = fusion.memory(tokens.flatten(1, 2))
            taps = hidden(
                model.text.encoder.layer, lambda: fusion.fuse(Words(ids, mask), memory, "all")
            )
        # A single tap has nothing to be weighed against.
        gate = {} if len(chosen) > 2 else {"confidence": "uniform"}
        options = {**STATES, "out_dim": 32, **changes, **gate}
        zero = torch.zeros(len(ids), dtype=torch.long)
        out = reference.forward(
            weights(model, "fusion"), options, [taps[i] for i in chosen[:-1]], taps[-1], mask, zero
        )
        logits = model.match(ids, mask, tokens)
    torch.testing.assert_close(logits, model.matching(out[:, 0]), atol=1e-4, rtol=1e-4)


def test_re_ranking_projects_a_medium_once():
    """Whatever the chunk, with the scores of texts and media pair by pair."""
    model, batch = randomize(tiny()), tiny_batch(size=5)
    texts, seen = (batch["input_ids"], batch["attention_mask"]), []
    with torch.no_grad():
        tokens = model.encode_visual(batch["pixels"])[0]
        pairs = model.match(*texts, tokens[:1].expand(5, -1, -1, -1))[:, 1]
        key = model.text.encoder.layer[0].crossattention.self.key
        key.register_forward_hook(lambda *_: seen.append(None))
        scores = model.score_texts(tokens[0], *texts, chunk=2)
    torch.testing.assert_close(scores, pairs)
    assert len(seen) == 1


def test_no_gradient_enters_a_tower_and_frames_run_once_a_step():
    model, batch = tiny().train(), tiny_batch()
    runs = {"visual": 0, "text": 0}

    def count(role: str) -> Any:
        def hook(_: Any, args: Any, out: Any) -> None:
            runs[role] += 1
            assert not torch.is_grad_enabled()
            assert not (out[0] if isinstance(out, tuple) else out).requires_grad

        return hook

    model.visual.layers[0].register_forward_hook(count("visual"))
    model.text.encoder.layer[0].register_forward_hook(count("text"))
    sum(model(**batch, mode="loss").values()).backward()
    # The averages' features take the same visual states; the text layers run once more, fused.
    assert runs == {"visual": 1, "text": 3}
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert all(name.startswith(("adapter.", "itm_head.")) or name == "temp" for name in trained)
    assert trained == {name for name, p in model.named_parameters() if p.requires_grad}


def test_the_averages_answer_with_their_own_side_networks():
    """Targets are what a model with the averaged weights computes, of the same states."""
    model, batch = randomize(tiny(momentum=0.5)), tiny_batch()
    twin = tiny(momentum=0.5)
    twin.load_state_dict(model.state_dict())
    randomize(model, seed=9)
    texts = (batch["input_ids"], batch["attention_mask"])
    found = model.contrast.prepare(model, model.features, batch["pixels"], *texts)
    averages = {n.replace("/", "."): t for n, t in model.ema.state_dict().items()}
    twin.load_state_dict(averages, strict=False)
    with torch.no_grad():
        expected = twin.features(batch["pixels"], *texts)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(found[0], model.features(batch["pixels"], *texts)[0])


def test_frozen_start_is_the_frozen_model_and_disabled_always():
    batch = tiny_batch()
    model = tiny(fast=False, adapter={"start": "frozen"})
    got = outputs(model, batch)
    with model.adapter_disabled():
        assert same(got, outputs(model, batch))
    randomize(model)
    with model.adapter_disabled():
        assert same(got[:5], outputs(model, batch)[:5])
    assert not same(got, outputs(model, batch))
    # The published start moves what a trained head reads, and keeps what a frozen one does.
    published = outputs(tiny(fast=False), batch)
    assert same(got[:5], published[:5])
    assert not torch.equal(got[5], published[5])
    assert same(got, outputs(tiny(fast=False, train_heads=False), batch))


@pytest.mark.parametrize("dropout", [False, True])
def test_towers_are_in_evaluation_unless_told(dropout: bool):
    cfg = tiny_retrieval_cfg(adapter={"type": "UniPT", "tower_dropout": dropout})
    cfg["text"]["dropout"] = 0.5
    model, batch = seeded_model(cfg), tiny_batch()
    texts = (batch["input_ids"], batch["attention_mask"])
    with torch.no_grad():
        trained = model.train().encode_text(*texts)[1]
        assert model.text.training
        assert torch.equal(trained, model.eval().encode_text(*texts)[1]) != dropout


def test_frozen_heads_belong_to_what_a_file_was_trained_on(tmp_path):
    model = randomize(tiny())
    assert not model.vision_proj.weight.requires_grad
    assert not model.text_proj.weight.requires_grad
    folder = save_adapter(model, tmp_path)
    other = tiny()
    load_adapter(other, folder)
    assert same(outputs(model, tiny_batch()), outputs(other, tiny_batch()))
    with torch.no_grad():
        other.vision_proj.bias.add_(1)
    with pytest.raises(ValueError, match="frozen heads of other weights"):
        load_adapter(other, folder)
    with pytest.raises(ValueError, match=r"adapter\.taps: file None, model '1-2'"):
        load_adapter(tiny(adapter={"taps": "1-2"}), folder)


def test_taps_are_compared_by_what_they_choose(tmp_path):
    folder = save_adapter(tiny(adapter={"taps": "0-2"}), tmp_path)
    load_adapter(tiny(adapter={"taps": [2, 0, 1]}), folder)
    load_adapter(tiny(), folder)


def test_it_learns():
    model = tiny(adapter={"start": "frozen"}).train()
    history = sgd_steps(model, tiny_batch(), steps=6)
    assert history[-1]["loss_itm"] < history[0]["loss_itm"]


def _deal(rank: int, world: int, expected: dict[str, Tensor]) -> None:
    got = step(randomize(tiny(), std=0.1).train(), shard(rank, world), 1)
    assert set(got) == set(expected)
    for name, value in expected.items():
        torch_dist.all_reduce(got[name])
        scale = value.abs().max().clamp(min=1e-2)
        mean = got[name] / world / scale
        torch.testing.assert_close(mean, value / scale, atol=5e-4, rtol=0, msg=name)


def test_two_processes_are_one():
    """Losses and gradients of a step, its texts of unlike lengths dealt out."""
    plain = randomize(tiny(fast=False), std=0.1).train()
    spawn(_deal, 2, step(plain, long_batch(), 1))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train_backbone": True}, "UniPT reads the towers without a graph"),
        ({"adapter": {"start": "zero"}}, r"adapter\.start='zero' is unknown"),
        ({"adapter": {"confidence": "none"}}, r"adapter\.confidence='none' is unknown"),
        ({"adapter": {"side_dim": 0}}, r"adapter\.side_dim=0 must be an int >= 1"),
        ({"adapter": {"reduction": 5}}, r"adapter\.reduction=5 does not divide the width 32"),
        ({"adapter": {"reduction": 64}}, r"adapter\.reduction=64 does not divide"),
        ({"adapter": {"taps": "0-3"}}, r"layers \[3\] do not exist, choose from 0\.\.2"),
        ({"adapter": {"taps": [2]}}, r"leaves no tap beside the guide, the last"),
        ({"adapter": {"taps": []}}, "chooses no layer"),
    ],
)
def test_bad_options(overrides: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        tiny(**overrides)


def test_questions_and_captions_start_frozen(tmp_path):
    """Their frozen decoder reads what it always did; the gradient of a step ends behind it."""
    folder = contract_models.write_files(tmp_path)
    for make in (contract_models.vqa, contract_models.caption):
        adapted = make({"type": "UniPT"}, folder, fast=False).train()
        bare = make(None, folder, fast=False)
        state = adapted.state_dict()
        bare.load_state_dict({name: state[name] for name in bare.state_dict()})
        loss, expected = (contract_models.words_loss(model) for model in (adapted, bare))
        assert torch.equal(loss, expected)
        loss.backward()
        graded = {name for name, p in adapted.named_parameters() if p.grad is not None}
        assert graded
        assert all(name.startswith("adapter.") for name in graded)


@pytest.mark.parametrize(
    ("name", "adapter", "heads"),
    [
        ("msrvtt", 10_118_787, 1_538),
        ("didemo", 10_118_787, 1_538),
        ("flickr30k", 10_118_787, 1_538),
        ("coco", 10_118_787, 1_538),
        ("vqav2", 4_736_641, 0),
        ("msrvttqa", 4_736_641, 0),
        ("coco_caption", 4_736_641, 0),
    ],
)
def test_counts_of_the_configs(name: str, adapter: int, heads: int):
    config = Config.fromfile(str(ROOT / f"configs/unipt/{name}_blip.py"))
    with torch.device("meta"):
        model = build_model(config.model.to_dict())
    counts = count_parameters(model)
    assert (counts["adapter"], counts.get("heads", 0)) == (adapter, heads)
    assert counts["trainable"] == adapter + heads + (1 if heads else 0)
