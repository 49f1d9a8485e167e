"""Whoever loads weights: the momentum averages equal them, unless the file brings its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from safetensors.torch import save_file

from tests.helpers import tiny_retrieval_cfg
from uniadapter.apis.model import build_model, load_weights
from uniadapter.models.adapters.state import load_adapter, save_adapter


def trained_model(**overrides: Any) -> Any:
    """A model whose trained tensors have moved away from their averages."""
    torch.manual_seed(1)
    model = build_model(tiny_retrieval_cfg(**overrides))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    return model


def weights(model: Any) -> dict[str, torch.Tensor]:
    """Without averages, queue and step, as a file of weights has them."""
    state = model.state_dict()
    return {n: t.clone() for n, t in state.items() if not n.startswith(("ema.", "queue.", "step"))}


def assert_follow(model: Any) -> None:
    for name, average in model.ema.averages().items():
        assert torch.equal(average, model.get_parameter(name)), name


def by_user(model: Any, source: Any, folder: Path) -> None:
    model.load_state_dict(weights(source), strict=False)


def by_mmengine(model: Any, source: Any, folder: Path) -> None:
    load_state_dict(model, weights(source))


def by_adapter(model: Any, source: Any, folder: Path) -> None:
    load_adapter(model, save_adapter(source, folder), check_backbone=False)


def by_api_checkpoint(model: Any, source: Any, folder: Path) -> None:
    torch.save({"state_dict": source.state_dict(), "meta": {}}, folder / "epoch_1.pth")
    load_weights(model, folder / "epoch_1.pth")


def by_api_backbone(model: Any, source: Any, folder: Path) -> None:
    state = {n: t for n, t in weights(source).items() if not n.startswith("adapter.")}
    save_file(state, folder / "backbone.safetensors")
    load_weights(model, folder / "backbone.safetensors")


def by_pretrained(model: Any, source: Any, folder: Path) -> None:
    state = {n: t for n, t in weights(source).items() if not n.startswith("adapter.")}
    save_file(state, folder / "backbone.safetensors")
    model.pretrained = str(folder / "backbone.safetensors")
    model.init_weights()


@pytest.mark.parametrize(
    "load", [by_user, by_mmengine, by_adapter, by_api_checkpoint, by_api_backbone, by_pretrained]
)
def test_averages_follow(load: Callable, tmp_path: Path):
    torch.manual_seed(0)
    model = build_model(tiny_retrieval_cfg())
    load(model, trained_model(), tmp_path)
    assert_follow(model)


def test_averages_of_the_file_are_taken():
    source = trained_model()
    model = build_model(tiny_retrieval_cfg())
    model.load_state_dict(source.state_dict())
    for name, average in model.ema.averages().items():
        assert torch.equal(average, source.ema.averages()[name])
    assert not torch.equal(average, model.get_parameter(name))


def test_a_stage_that_trains_more_takes_the_averages_there_are():
    """Averages of what the first stage did not train start from the loaded weights."""
    source = trained_model()
    model = build_model(tiny_retrieval_cfg(train_backbone=True))
    model.load_state_dict(source.state_dict(), strict=False)
    theirs = source.ema.averages()
    for name, average in model.ema.averages().items():
        wanted = theirs[name] if name in theirs else model.get_parameter(name)
        assert torch.equal(average, wanted), name


def test_a_copy_follows_its_own_weights():
    model = copy.deepcopy(build_model(tiny_retrieval_cfg()))
    model.load_state_dict(weights(trained_model()), strict=False)
    assert_follow(model)


def test_tensors_that_the_file_lacks_keep_their_averages():
    model, source = trained_model(), trained_model(temperature=0.1)
    before = {name: t.clone() for name, t in model.ema.averages().items()}
    state = {n: t for n, t in weights(source).items() if n.startswith("vision_proj.")}
    model.load_state_dict(state, strict=False)
    for name, average in model.ema.averages().items():
        follows = name.startswith("vision_proj.")
        assert torch.equal(average, model.get_parameter(name) if follows else before[name])
