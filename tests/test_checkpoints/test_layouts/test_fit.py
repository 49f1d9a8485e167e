from __future__ import annotations

import pytest
import torch

from tests.test_checkpoints.test_layouts.states import meta_model, pool_state, weight_shapes
from uniadapter.checkpoints.layouts.fit import fit_to_model
from uniadapter.checkpoints.layouts.keys import Report, State


def fit(state: State, model: object) -> tuple[State, Report]:
    report = Report(used={f"src.{name}": name for name in state})
    return fit_to_model(state, report, model, "f.pth"), report


@pytest.fixture(scope="module")
def blip_state() -> State:
    return pool_state(weight_shapes(meta_model()))


def test_position_embeddings_keep_their_own_grid(blip_state: State) -> None:
    model = meta_model(visual={"type": "BlipViT", "arch": "b", "img_size": 384})
    fitted, report = fit(blip_state, model)
    assert fitted["visual.pos_embed"] is blip_state["visual.pos_embed"]
    (note,) = (note for note in report.notes if "pos_embed" in note)
    assert "keeps the source's 14 x 14 patches" in note
    assert note.endswith("interpolates them to 24 x 24")


@pytest.mark.parametrize("shape", [(1, 200, 768), (1, 197, 32), (1, 1, 768), (197, 768)])
def test_other_position_embeddings_are_refused(blip_state: State, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"visual\.pos_embed: file .*, model \(1, 197, 768\)"):
        fit({**blip_state, "visual.pos_embed": torch.zeros(shape)}, meta_model())


def test_a_file_without_adapter_leaves_the_adapter_new(blip_state: State) -> None:
    fitted, report = fit(blip_state, meta_model(128))
    assert set(fitted) == set(blip_state)
    assert "no adapter in the source: the model's starts anew" in report.notes


def test_a_missing_temperature_is_no_error(blip_state: State) -> None:
    fitted, _ = fit({n: t for n, t in blip_state.items() if n != "temp"}, meta_model())
    assert "temp" not in fitted


def test_missing_tensors_are_named(blip_state: State) -> None:
    state = {n: t for n, t in blip_state.items() if not n.startswith("itm_head")}
    with pytest.raises(ValueError, match=r"missing .*: itm_head\.bias, itm_head\.weight\n"):
        fit(state, meta_model())


def test_a_layer_too_many_is_named(blip_state: State) -> None:
    text = {"type": "BertModel", "num_layers": 11}
    with pytest.raises(ValueError, match=r"in the model: src\.text\.encoder\.layer.* and 21 more"):
        fit(blip_state, meta_model(text=text))


def test_another_width_is_named(blip_state: State) -> None:
    with pytest.raises(ValueError, match=r"vision_proj\.weight: file \(256, 768\), model \(128"):
        fit(blip_state, meta_model(embed_dim=128))


def test_another_rank_is_said_as_the_option() -> None:
    state = pool_state(weight_shapes(meta_model(128)))
    with pytest.raises(ValueError, match=r"adapter\.bottleneck: file r=128, model r=512\n"):
        fit(state, meta_model(512))


def test_another_rank_of_the_pair_is_said_as_the_option() -> None:
    state = pool_state(weight_shapes(meta_model(128)))
    adapter = {"type": "UniAdapter", "bottleneck": 128, "variant": "released", "kv_rank": 32}
    with pytest.raises(ValueError, match=r"adapter\.kv_rank: file 64, model 32\n"):
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
    with pytest.raises(ValueError, match=r"the model: src.*\n.*variant='released'.*kv_rank=64"):
        fit(state, meta_model(128, adapter=adapter))


def test_an_incomplete_adapter_is_refused() -> None:
    state = pool_state(weight_shapes(meta_model(128)))
    del state["adapter.kv.key_scale"]
    with pytest.raises(ValueError, match=r"missing in the file: adapter\.kv\.key_scale\n"):
        fit(state, meta_model(128))
