"""What retrieval with any two towers side by side promises: batch contrast, no matching."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.dual_helpers import FAMILIES, Family
from tests.helpers import load_tool, tiny_run_cfg, write_run_cfg
from tests.model_helpers import randomize, sgd_steps
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.models.build import build_model
from uniadapter.models.precision import cast_frozen
from uniadapter.models.taps import first_tensor

pytest.importorskip("transformers")
HEADS = {"vision_proj.weight", "text_proj.weight", "logit_scale"}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def inputs(family: Family) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Videos, ids and mask."""
    pairs = family.pairs()
    return pairs["pixels"], pairs["input_ids"], pairs["attention_mask"]


def with_tokenizer(family: Family, folder: Path) -> dict[str, Any]:
    """The model of a config with a tokenizer's file."""
    model = family.narrow()
    model["data_preprocessor"]["tokenizer"]["file"] = str(family.tokenizer(folder))
    return model


@pytest.mark.parametrize(
    ("name", "config", "part"),
    [
        ("beit3", "uniadapter/flickr30k_beit3_large_r512", "adapter"),
        ("clip", "uniadapter/msrvtt_clip_r512", "adapter"),
        ("clip", "linear_probe/flickr30k_clip", None),
        ("clip", "full_finetune/flickr30k_clip", "visual"),
    ],
)
def test_what_is_trained_and_what_a_state_holds(name: str, config: str, part: str | None) -> None:
    family = FAMILIES[name]
    model = family.model(config).train()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    parts = {n.partition(".")[0] for n in trained - HEADS}
    assert trained >= HEADS
    assert parts == {"adapter": {"adapter"}, "visual": {"visual", "text"}, None: set()}[part]
    before = copy.deepcopy(model.state_dict())
    held = {n.partition(".")[0] for n in before}
    adapter = {"adapter"} if part == "adapter" else set()
    assert held == {"visual", "text", "vision_proj", "text_proj", "logit_scale"} | adapter
    assert not [n for n in before if "cross" in n]
    history = sgd_steps(model, family.pairs(), steps=4, lr=0.003)
    assert history[-1]["loss_itc"] < history[0]["loss_itc"]
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved <= trained
    assert moved >= HEADS


def test_the_last_layer_computes_what_is_read_and_gives_the_same(family: Family) -> None:
    seen, found = [], []
    for fast in (True, False):
        torch.manual_seed(0)
        model = randomize(build_model({**family.narrow(), "fast": fast})).train()
        model.visual.layers[-1].register_forward_hook(
            lambda _, __, out: seen.append(first_tensor(out).shape[1])
        )
        loss = model(**family.pairs(), mode="loss")["loss_itc"]
        trained = [p for p in model.parameters() if p.requires_grad]
        found.append([loss, *torch.autograd.grad(loss, trained)])
    assert seen == ([5, 5] if family.hosted else [1, 5])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_a_task_that_needs_fusion_is_refused(family: Family) -> None:
    cfg = family.narrow()
    cfg["matching"] = {"type": "MatchingHead"}
    wanted = f"{family.text.__name__} has no cross-attention.*matching=None"
    for adapter in (cfg["adapter"], None):
        with pytest.raises(ValueError, match=wanted):
            build_model({**copy.deepcopy(cfg), "adapter": adapter})


def test_a_tokenizer_of_another_size_is_refused(family: Family, tmp_path: Path) -> None:
    cfg = with_tokenizer(family, tmp_path)
    words = build_model(copy.deepcopy(cfg)).data_preprocessor.tokenizer.vocab_size
    assert words == (28 if family.spare else family.words)
    wrong = words - 1 if family.spare else words + 1
    cfg["text"]["vocab_size"] = wrong
    with pytest.raises(ValueError, match=f"text.vocab_size={wrong}, .* has {words} words"):
        build_model(cfg)


def test_a_run_trains_and_ranks_by_similarity(
    family: Family, tmp_path: Path, tiny_world: Path
) -> None:
    cfg = tiny_run_cfg(tiny_world, epochs=1)
    cfg["model"] = with_tokenizer(family, tmp_path)
    for loop in ("val_cfg", "test_cfg"):
        cfg[loop]["k_test"] = 0
    file = write_run_cfg(tmp_path / "run.py", cfg)
    folder = ["--work-dir", str(tmp_path)]
    load_tool("train.py").main([str(file), *folder])
    load_tool("test.py").main([str(file), str(tmp_path / "epoch_1.pth"), *folder])
    state = torch.load(tmp_path / "epoch_1.pth", weights_only=True)["state_dict"]
    assert "logit_scale" in state
    assert not [name for name in state if name.startswith(("ema.", "queue."))]
    logs = [json.loads(line) for path in tmp_path.rglob("scalars.json") for line in path.open()]
    assert any("loss_itc" in line and "loss_itm" not in line for line in logs)
    assert any("t2v/R1" in line for line in logs)


def test_the_promises_of_an_adapter(family: Family, tmp_path: Path) -> None:
    """Step 0, disabling, copies and folders."""
    model, batch = family.model().eval(), inputs(family)
    with model.adapter_disabled():
        bare = model.features(*batch)
    # Up-projections start at zero.
    assert all(map(torch.equal, model.features(*batch), bare))
    randomize(model)
    with model.adapter_disabled():
        bare = model.features(*batch)
    adapted = model.features(*batch)
    assert not torch.allclose(adapted[0], bare[0])
    assert not torch.allclose(adapted[1], bare[1])
    assert all(map(torch.equal, copy.deepcopy(model).features(*batch), adapted))

    save_adapter(model, tmp_path)
    other = family.model().eval()
    load_adapter(other, tmp_path)
    assert all(map(torch.equal, other.features(*batch), adapted))
    with torch.no_grad():
        next(other.text.parameters()).add_(1)
    with pytest.raises(ValueError, match="backbone"):
        load_adapter(other, tmp_path)


def test_a_folder_fits_another_image_size_where_positions_are_resized(tmp_path: Path) -> None:
    family = FAMILIES["beit3"]
    model = randomize(family.model())
    save_adapter(model, tmp_path)
    cfg = family.narrow()
    other = build_model({**cfg, "visual": {**cfg["visual"], "img_size": 48}})
    frozen = {n: t for n, t in model.state_dict().items() if n.startswith(("visual.", "text."))}
    other.load_state_dict(frozen, strict=False)
    load_adapter(other, tmp_path)
    own = dict(model.named_parameters())
    assert all(torch.equal(p, own[n]) for n, p in other.named_parameters() if p.requires_grad)


def test_frozen_weights_in_half_precision(family: Family) -> None:
    model, batch = randomize(family.model()).eval(), inputs(family)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = model.features(*batch)
    cast_frozen(model, "bfloat16")
    assert torch.bfloat16 in {p.dtype for p in model.text.parameters()}
    with model.frozen_autocast():
        found = model.features(*batch)
    # Norms of hosted layers do not give autocast's very bits.
    close = 0.05 if family.hosted else 0.0
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, atol=close, rtol=close)
