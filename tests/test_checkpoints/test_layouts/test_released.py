from __future__ import annotations

import pytest
import torch

from tests.test_checkpoints.test_layouts.states import (
    assert_same,
    key_list,
    meta_model,
    pool_state,
    vqa_parts,
    weight_shapes,
    with_aliases,
)
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.layouts import export_state
from uniadapter.checkpoints.layouts.fit import fit_to_model
from uniadapter.checkpoints.layouts.keys import Report, State, map_keys
from uniadapter.checkpoints.layouts.released import RELEASED
from uniadapter.models import VisionLanguageModel


def read(source: State, model: VisionLanguageModel) -> tuple[State, Report]:
    state, report = map_keys(source, RELEASED, "f.pth")
    return fit_to_model(state, report, model, "f.pth"), report


def released_adapter(rank: int) -> dict:
    return {"type": "UniAdapter", "bottleneck": rank, "variant": "released", "kv_rank": 64}


@pytest.mark.parametrize("rank", [128, 512])
def test_retrieval_round_trip_at_full_width(rank: int) -> None:
    model = meta_model(rank)
    own = pool_state(weight_shapes(model))
    released, written = export_state(own, "uniadapter", queue_size=64)
    shapes, same = key_list("uniadapter_retrieval", rank)
    assert {k: tuple(t.shape) for k, t in released.items()} == shapes
    assert written.left == {}
    assert [k for k, alias in same.items() if released[k] is not released[alias]] == []
    again, report = read(released, model)
    assert_same(again, own)
    assert set(report.used) | set(report.left) == set(released)


@pytest.mark.parametrize("rank", [128, 512])
def test_vqa_round_trip_at_full_width(rank: int) -> None:
    model = vqa_parts(released_adapter(rank))
    own = pool_state(weight_shapes(model))
    released, _ = export_state(own, "uniadapter")
    shapes, same = key_list("uniadapter_vqa", rank)
    assert {k: tuple(t.shape) for k, t in released.items()} == shapes
    assert [k for k, alias in same.items() if released[k] is not released[alias]] == []
    again, report = read(released, model)
    assert_same(again, own)
    left = {key.split(".")[0] for key in report.left if not key.endswith("position_ids")}
    assert left == {"adapters_dec"}


def test_a_published_key_list_is_read_completely() -> None:
    source = with_aliases(*key_list("uniadapter_retrieval"))
    state, report = read(source, meta_model(512))
    assert set(report.used) | set(report.left) == set(source)
    left = {key.split(".")[0] for key in report.left if not key.endswith("position_ids")}
    momentum = {"adapters_m", "visual_encoder_m", "text_encoder_m", "vision_proj_m", "text_proj_m"}
    assert left == momentum | {"image_queue", "text_queue", "idx_queue", "ptr_queue"}
    names = {
        "adapters.3.multi_up_proj.weight": "adapter.layers.3.up.cross.weight",
        "adapters.3.up_proj.weight": "adapter.layers.3.up.text.weight",
        "adapters.3.visual_up_proj.bias": "adapter.layers.3.up.visual.bias",
        "adapters.3.adapter_layer_norm_cross_modal.bias": "adapter.layers.3.norm_cross.bias",
        "text_encoder.encoder.video_value_adapter.scale": "adapter.kv.value_scale",
    }
    for theirs, ours in names.items():
        assert report.used[theirs] == ours
        assert torch.equal(state[ours], source[theirs])


def test_aliases_that_disagree_are_both_named() -> None:
    source = with_aliases(*key_list("uniadapter_retrieval", 128))
    key = "text_encoder.encoder.layer.7.adapter.up_proj.bias"
    source[key] = source[key] + 1
    match = (
        r"adapters\.7\.up_proj\.bias and text_encoder\.encoder\.layer\.7\.adapter\.up_proj\.bias"
    )
    with pytest.raises(ValueError, match=match):
        read(source, meta_model(128))


def test_ranks_of_file_and_config_are_compared() -> None:
    source = with_aliases(*key_list("uniadapter_retrieval", 128))
    with pytest.raises(ValueError, match="file r=128, model r=512"):
        read(source, meta_model(512))


def test_a_model_without_adapter_can_not_be_written() -> None:
    with pytest.raises(ValueError, match="--to uniadapter needs an adapter"):
        export_state({"temp": torch.ones(())}, "uniadapter")


def test_options_the_released_code_does_not_have_can_not_be_written() -> None:
    state = {"adapter.layers.0.down.visual.weight": torch.ones(2, 2)}
    with pytest.raises(ValueError, match=r"no place for .*down\.visual.*sharing='down'"):
        export_state(state, "uniadapter")


def test_a_vqa_decoder_is_left_by_a_retrieval_model() -> None:
    own = pool_state(weight_shapes(vqa_parts(released_adapter(128))))
    released, _ = export_state(own, "uniadapter")
    state, report = map_keys(released, RELEASED, "f.pth")
    with pytest.raises(ValueError, match=r"missing in the file: itm_head.* and 1 more"):
        fit_to_model(state, report, meta_model(128), "f.pth")


def test_the_vqa_task_holds_what_its_towers_hold() -> None:
    """The round trip of the towers above is the round trip of the task."""
    cfg = {
        "type": "VQAModel",
        "visual": {"type": "BlipViT", "arch": "b"},
        "text": {"type": "BertModel"},
        "decoder": {"type": "BertDecoder"},
        "adapter": released_adapter(128),
    }
    with torch.device("meta"):
        task = build_model(cfg)
    assert weight_shapes(task) == weight_shapes(vqa_parts(released_adapter(128)))
