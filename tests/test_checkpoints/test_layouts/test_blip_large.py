"""BLIP-Large: the published retrieval files at full width, in and out."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from mmengine.config import Config

from tests.helpers import ROOT
from tests.test_checkpoints.test_layouts.states import (
    assert_same,
    key_list,
    meta_model,
    pool_state,
    weight_shapes,
)
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.layouts import export_state
from uniadapter.checkpoints.layouts.fit import fit_to_model
from uniadapter.checkpoints.layouts.keys import Report, State, map_keys
from uniadapter.checkpoints.layouts.official import OFFICIAL
from uniadapter.models import VisionLanguageModel

# The keys of the files that a model of this shape keeps no place for.
LEFT = ("visual_encoder_m.", "text_encoder_m.", "vision_proj_m.", "text_proj_m.")
TRAINING = {"image_queue", "text_queue", "idx_queue", "ptr_queue"}


@cache
def large() -> VisionLanguageModel:
    cfg = Config.fromfile(str(ROOT / "configs/uniadapter/flickr30k_blip_large_r512.py"))
    with torch.device("meta"):
        return build_model({**cfg.model.to_dict(), "adapter": None})


def read(source: State, model: VisionLanguageModel) -> tuple[State, Report]:
    state, report = map_keys(source, OFFICIAL, "f.pth")
    return fit_to_model(state, report, model, "f.pth"), report


def test_every_key_of_the_published_list_is_used_or_left_for_a_reason():
    shapes, _ = key_list("blip_large_retrieval")
    assert len(shapes) == 1237
    source = pool_state(shapes)
    state, report = read(source, large())
    assert {name: tensor.shape for name, tensor in state.items()} == weight_shapes(large())
    assert set(report.used) | set(report.left) == set(source)
    assert not set(report.used) & set(report.left)
    left = {key for key in shapes if key.startswith(LEFT) or "position_ids" in key} | TRAINING
    assert set(report.left) == left
    for key, name in report.used.items():
        assert state[name] is source[key]


def test_written_back_it_has_the_published_keys():
    shapes, _ = key_list("blip_large_retrieval")
    own = pool_state(weight_shapes(large()))
    official, written = export_state(own, "blip")
    assert {key: tuple(tensor.shape) for key, tensor in official.items()} == shapes
    assert written.left == {}
    assert_same(read(official, large())[0], own)


def test_counts_of_the_towers():
    towers = large().towers()
    counts = {name: sum(p.numel() for p in tower.parameters()) for name, tower in towers.items()}
    assert counts == {"visual": 303_690_752, "text": 141_977_088}
    assert sum(p.numel() for p in large().parameters()) == 446_128_643


def test_a_base_model_refuses_it():
    with pytest.raises(ValueError, match=r"model: visual_encoder\.blocks\.12.* and 139 more"):
        read(pool_state(key_list("blip_large_retrieval")[0]), meta_model())


@pytest.mark.parametrize(
    "key",
    [
        "visual_encoder.blocks.23.mlp.fc2.weight",
        "text_encoder.encoder.layer.11.crossattention.self.key.weight",
    ],
)
def test_a_missing_tensor_is_named(key: str):
    source = pool_state(key_list("blip_large_retrieval")[0])
    del source[key]
    with pytest.raises(ValueError, match=r"missing in the file: (visual|text)\.\S*\n"):
        read(source, large())
