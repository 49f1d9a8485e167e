from __future__ import annotations

import pytest
import torch

from tests.test_models.test_conversion.states import meta_model, pool_state, weight_shapes
from uniadapter.models.conversion.fit import fit_to_model, resize_pos_embed
from uniadapter.models.conversion.keys import Report, State


def fit(state: State, model: object) -> tuple[State, Report]:
    report = Report(used={f"src.{name}": name for name in state})
    return fit_to_model(state, report, model, "f.pth"), report


@pytest.fixture(scope="module")
def blip_state() -> State:
    return pool_state(weight_shapes(meta_model()))


def test_position_embeddings_follow_the_image_size(blip_state: State) -> None:
    model = meta_model(visual={"type": "BlipViT", "arch": "b", "img_size": 384})
    fitted, report = fit(blip_state, model)
    resized = fitted["visual.pos_embed"]
    assert resized.shape == (1, 577, 768)
    assert torch.equal(resized[:, 0], blip_state["visual.pos_embed"][:, 0])
    grid = blip_state["visual.pos_embed"][:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    by_hand = torch.nn.functional.interpolate(grid, (24, 24), mode="bicubic", align_corners=False)
    torch.testing.assert_close(resized[:, 1:], by_hand.flatten(2).transpose(1, 2))
    assert "visual.pos_embed interpolated from 197 to 577 tokens" in report.notes


def test_position_embeddings_that_are_no_square_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pos_embed of shape \(1, 200, 768\) is no square"):
        resize_pos_embed(torch.zeros(1, 200, 768), meta_model())


def test_a_file_without_adapter_leaves_the_adapter_new(blip_state: State) -> None:
    fitted, report = fit(blip_state, meta_model(128))
    assert set(fitted) == set(blip_state)
    assert "no adapter in the source: the model's starts anew" in report.notes


def test_a_missing_temperature_is_no_error(blip_state: State) -> None:
    fitted, _ = fit({n: t for n, t in blip_state.items() if n != "temp"}, meta_model())
    assert "temp" not in fitted


def test_missing_tensors_are_named(blip_state: State) -> None:
    state = {n: t for n, t in blip_state.items() if not n.startswith("itm_head")}
    with pytest.raises(ValueError, match=r"lacks 2 tensors .*\['itm_head'\].*itm_head\.bias"):
        fit(state, meta_model())


def test_a_layer_too_many_is_named(blip_state: State) -> None:
    text = {"type": "BertModel", "num_layers": 11}
    with pytest.raises(ValueError, match=r"26 tensors without a place .*src\.text\.encoder\.layer"):
        fit(blip_state, meta_model(text=text))


def test_another_width_is_named(blip_state: State) -> None:
    with pytest.raises(ValueError, match=r"vision_proj\.weight: file \(256, 768\), config \(128"):
        fit(blip_state, meta_model(embed_dim=128))


def test_another_rank_is_said_as_the_option() -> None:
    state = pool_state(weight_shapes(meta_model(128)))
    with pytest.raises(ValueError, match=r"adapter\.bottleneck: file r=128, config r=512\n"):
        fit(state, meta_model(512))


def test_another_rank_of_the_pair_is_said_as_the_option() -> None:
    state = pool_state(weight_shapes(meta_model(128)))
    adapter = {"type": "UniAdapter", "bottleneck": 128, "variant": "released", "kv_rank": 32}
    with pytest.raises(ValueError, match=r"adapter\.kv_rank: file 64, config 32\n"):
        fit(state, meta_model(128, adapter=adapter))


@pytest.mark.parametrize(
    "adapter",
    [
        None,
        {"type": "UniAdapter", "bottleneck": 128},
        {"type": "UniAdapter", "bottleneck": 128, "variant": "released"},
    ],
)
def test_an_adapter_without_a_place_is_said_with_the_options_it_needs(adapter: dict | None) -> None:
    state = pool_state(weight_shapes(meta_model(128)))
    with pytest.raises(ValueError, match=r"without a place .*variant='released'.*kv_rank=64"):
        fit(state, meta_model(128, adapter=adapter))


def test_an_incomplete_adapter_is_refused() -> None:
    state = pool_state(weight_shapes(meta_model(128)))
    del state["adapter.kv.key_scale"]
    with pytest.raises(
        ValueError, match=r"lacks 1 tensors .*\['adapter'\].*adapter\.kv\.key_scale"
    ):
        fit(state, meta_model(128))
