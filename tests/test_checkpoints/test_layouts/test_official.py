from __future__ import annotations

import pytest
import torch

from tests.test_checkpoints.test_layouts.states import (
    assert_same,
    full_towers,
    meta_model,
    official_list,
    pool_state,
    vqa_parts,
    weight_shapes,
)
from uniadapter.checkpoints.layouts import export_state
from uniadapter.checkpoints.layouts.fit import fit_to_model
from uniadapter.checkpoints.layouts.keys import Report, State, map_keys
from uniadapter.checkpoints.layouts.official import OFFICIAL
from uniadapter.models import VisionLanguageModel

LM_WEIGHT = "text_decoder.cls.predictions.decoder.weight"
LM_BIAS = "text_decoder.cls.predictions.decoder.bias"
EMBEDDING = "text_decoder.bert.embeddings.word_embeddings.weight"


def read(source: State, model: VisionLanguageModel) -> tuple[State, Report]:
    state, report = map_keys(source, OFFICIAL, "f.pth")
    return fit_to_model(state, report, model, "f.pth"), report


def shapes_of(state: State) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def decoder_parts(**parts: object) -> VisionLanguageModel:
    return full_towers(decoder={"type": "BertDecoder"}, **parts)


def test_retrieval_round_trip_at_full_width() -> None:
    model = meta_model()
    own = pool_state(weight_shapes(model))
    official, written = export_state(own, "blip", queue_size=64)
    assert shapes_of(official) == official_list()
    assert written.left == {}
    again, report = read(official, model)
    assert_same(again, own)
    assert set(report.used) | set(report.left) == set(official)


def test_vqa_round_trip_at_full_width() -> None:
    model = vqa_parts()
    own = pool_state(weight_shapes(model))
    official, _ = export_state(own, "blip")
    assert shapes_of(official) == official_list(decoder=True)
    assert official[LM_WEIGHT] is official[EMBEDDING]
    again, report = read(official, model)
    assert_same(again, own)
    assert set(report.used) | set(report.left) == set(official)


def test_caption_checkpoint_has_two_towers() -> None:
    wanted = official_list(decoder=True)
    wanted = {k: s for k, s in wanted.items() if not k.startswith("text_encoder.")}
    model = decoder_parts()
    own = pool_state(weight_shapes(model))
    official, _ = export_state(own, "blip")
    assert shapes_of(official) == wanted
    assert_same(read(official, model)[0], own)


def test_pretrained_checkpoint_serves_every_task() -> None:
    cfg = {"type": "BertDecoder"}
    pretrain = meta_model(type="BlipPretrainModel", decoder=cfg)
    own = pool_state(weight_shapes(pretrain))
    official, _ = export_state(own, "blip", queue_size=64)
    assert "queue_ptr" in official
    assert "idx_queue" not in official
    assert_same(read(official, pretrain)[0], own)
    retrieval, report = read(official, meta_model())
    assert_same(retrieval, {n: t for n, t in own.items() if not n.startswith("decoder.")})
    assert report.left[LM_BIAS] == "RetrievalModel of the config has no decoder"
    captioner, report = read(official, decoder_parts())
    assert {name.split(".")[0] for name in captioner} == {"visual", "decoder"}
    assert report.left["temp"] == "Towers of the config has no temp"


def test_pretrained_output_matrix_that_is_not_tied_wins() -> None:
    model = decoder_parts()
    official, _ = export_state(pool_state(weight_shapes(model)), "blip")
    official[LM_WEIGHT] = official[LM_WEIGHT] + 1
    state, report = read(official, model)
    assert state["decoder.bert.embeddings.word_embeddings.weight"] is official[LM_WEIGHT]
    assert "differs from" in report.left[EMBEDDING]


def test_training_state_becomes_momentum_copies_and_queue() -> None:
    model = meta_model()
    own = pool_state(weight_shapes(model))
    average = torch.full((256, 768), 3.0)
    training = {
        "ema.vision_proj/weight": average,
        "queue.visual": torch.rand(8, 256),
        "queue.text": torch.rand(8, 256),
        "queue.ids": torch.arange(8),
        "queue.ptr": torch.tensor(3),
        "step": torch.tensor(7),
    }
    official, report = export_state(own, "blip", training)
    assert official["vision_proj_m.weight"] is average
    assert official["vision_proj.weight"] is own["vision_proj.weight"]
    assert torch.equal(official["image_queue"], training["queue.visual"].t())
    assert official["ptr_queue"].tolist() == [3]
    assert set(training) <= set(report.used) | set(report.left)


def test_an_empty_queue_is_of_unit_vectors_without_ids() -> None:
    own = pool_state(weight_shapes(meta_model()))
    official, _ = export_state(own, "blip", queue_size=8)
    torch.testing.assert_close(official["text_queue"].norm(dim=0), torch.ones(8))
    assert official["idx_queue"].tolist() == [[-100] * 8]


def test_large_vision_tower() -> None:
    text = {"type": "BertModel", "encoder_width": 1024}
    model = meta_model(visual={"type": "BlipViT", "arch": "l", "img_size": 224}, text=text)
    own = pool_state(weight_shapes(model))
    official, _ = export_state(own, "blip", queue_size=8)
    assert official["visual_encoder.blocks.23.mlp.fc1.weight"].shape == (4096, 1024)
    assert_same(read(official, model)[0], own)


def test_adapters_have_no_place_in_the_official_layout() -> None:
    state = {"temp": torch.ones(()), "adapter.layers.0.norm_cross.bias": torch.ones(2)}
    official, report = export_state(state, "blip")
    assert list(official) == ["temp"]
    assert report.left == {
        "adapter.layers.0.norm_cross.bias": "the layout 'blip' has no name for it"
    }


def test_unknown_target_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--to 'eva' is unknown: choose from"):
        export_state({}, "eva")


def test_a_key_of_another_model_is_named() -> None:
    with pytest.raises(ValueError, match=r"cls_head\.\*\.weight"):
        read({"cls_head.0.weight": torch.ones(1)}, decoder_parts())
