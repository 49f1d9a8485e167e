"""ALBEF: both published forms and VQA at full width, in and out, and who is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from tests.test_checkpoints.test_layouts.states import (
    Shapes,
    assert_same,
    full_towers,
    key_list,
    meta_model,
    official_list,
    pool_state,
    weight_shapes,
    with_aliases,
    write_pth,
)
from uniadapter.checkpoints.layouts import export_state, read_checkpoint
from uniadapter.checkpoints.layouts.keys import Report, State
from uniadapter.models import VisionLanguageModel

TEXT = {"type": "BertModel", "vocab_size": 30522, "type_vocab_size": 2, "fusion_layer": 6}
DECODER = {"type": "BertDecoder", "vocab_size": 30522, "type_vocab_size": 2, "num_layers": 6}
QUEUE = {"image_queue", "text_queue", "idx_queue", "queue_ptr"}
MLM = "text_encoder.cls.predictions."


@cache
def retrieval() -> VisionLanguageModel:
    visual = {"type": "BlipViT", "arch": "b", "img_size": 384}
    return meta_model(visual=visual, text=TEXT, data_preprocessor=None)


@cache
def vqa() -> VisionLanguageModel:
    return full_towers(text=TEXT, decoder={**DECODER, "layer_offset": 6})


def listed(name: str) -> tuple[Shapes, State]:
    shapes, same = key_list(name)
    # Queues and words that no pool holds: one row of numbers, as often as there are rows.
    large = {key for key, shape in shapes.items() if "queue" in key or shape[:1] == (30522,)}
    state = with_aliases({k: s for k, s in shapes.items() if k not in large}, {})
    for key in sorted(large):
        size = shapes[key][-1] if shapes[key] else 1
        state[key] = torch.randn(size).expand(shapes[key])
    for alias, key in same.items():
        state[alias] = state[key]
    return shapes, {key: state[key] for key in shapes}


def read(
    source: State, model: VisionLanguageModel, folder: Path, layout: str = "albef", **options: bool
) -> tuple[State, Report]:
    return read_checkpoint(write_pth(folder / "f.pth", source), layout, model, **options)


@pytest.mark.parametrize(("form", "count"), [("albef_retrieval", 831), ("albef_pretrain", 844)])
def test_every_key_is_used_or_left_for_a_reason(form: str, count: int, tmp_path: Path) -> None:
    shapes, source = listed(form)
    assert len(shapes) == count
    state, report = read(source, retrieval(), tmp_path)
    wanted = weight_shapes(retrieval())
    if form == "albef_pretrain":
        wanted["visual.pos_embed"] = torch.Size((1, 257, 768))
        assert "keeps the source's 16 x 16 patches" in report.notes[-1]
    assert {name: tensor.shape for name, tensor in state.items()} == wanted
    assert set(report.used) | set(report.left) == set(source)
    assert not set(report.used) & set(report.left)
    left = {key for key in shapes if "_m." in key or "position_ids" in key or MLM in key}
    assert set(report.left) == left | (QUEUE & set(shapes))
    for key, name in report.used.items():
        assert torch.equal(state[name], source[key])


def test_a_retrieval_file_goes_back_with_every_key(tmp_path: Path) -> None:
    shapes, source = listed("albef_retrieval")
    state, _ = read(source, retrieval(), tmp_path)
    back, written = export_state(state, "albef", queue_size=65536)
    assert {key: tuple(tensor.shape) for key, tensor in back.items()} == shapes
    assert written.left == {}
    used = {key for key in source if "_m." not in key and key not in QUEUE | {"position_ids"}}
    for key in used:
        if "position_ids" not in key:
            assert torch.equal(back[key], source[key])
            copy = key.replace(".", "_m.", 1)
            assert copy not in shapes or back[copy] is back[key]
    assert_same(read(back, retrieval(), tmp_path)[0], state)


def test_training_state_becomes_momentum_copies_and_queue() -> None:
    state = {"vision_proj.weight": torch.ones(4, 6), "text_proj.weight": torch.ones(4, 6)}
    training = {
        "ema.vision_proj/weight": torch.zeros(4, 6),
        "queue.visual": torch.rand(8, 4),
        "queue.text": torch.rand(8, 4),
        "queue.ids": torch.arange(8),
        "queue.ptr": torch.tensor(3),
    }
    official, report = export_state(state, "albef", training)
    assert not official["vision_proj_m.weight"].any()
    assert official["text_proj_m.weight"] is state["text_proj.weight"]
    assert torch.equal(official["image_queue"], training["queue.visual"].t())
    assert official["idx_queue"].tolist() == [list(range(8))]
    assert official["queue_ptr"].tolist() == [3]
    assert "ptr_queue" not in official
    assert set(training) <= set(report.used) | set(report.left)


def test_a_vqa_file_in_and_out(tmp_path: Path) -> None:
    shapes, source = listed("albef_vqa")
    # Trained with distillation it has averages of all three towers.
    averages = {f"{part}_m.x": torch.ones(1) for part in ("visual_encoder", "text_decoder")}
    state, report = read({**source, **averages}, vqa(), tmp_path)
    assert set(state) == set(weight_shapes(vqa()))
    assert set(report.used) | set(report.left) == {*source, *averages}
    assert {key.rsplit(".", 1)[1] for key in set(report.left) - set(averages)} == {"position_ids"}
    back, written = export_state(state, "albef")
    assert {key: tuple(tensor.shape) for key, tensor in back.items()} == shapes
    assert written.left == {}
    assert_same(read(back, vqa(), tmp_path)[0], state)


def test_a_decoder_starts_from_the_upper_layers_of_a_pretrained_encoder(tmp_path: Path) -> None:
    _, source = listed("albef_pretrain")
    state, report = read(source, vqa(), tmp_path, init_decoder=True)
    assert set(state) == set(weight_shapes(vqa()))
    assert set(report.used) | set(report.left) == set(source)
    assert not set(report.used) & set(report.left)
    assert any("decoder starts from the last 6 layers" in note for note in report.notes)
    body, ours = "text_encoder.bert.", "decoder.bert."
    for name, tensor in state.items():
        if name.startswith(f"{ours}encoder.layer."):
            number, rest = name.removeprefix(f"{ours}encoder.layer.").split(".", 1)
            want = source[f"{body}encoder.layer.{int(number) + 6}.{rest}"]
        elif name.startswith(ours):
            want = source[body + name.removeprefix(ours)]
        elif name.startswith("decoder.cls."):
            want = source["text_encoder." + name.removeprefix("decoder.")]
            assert report.used["text_encoder." + name.removeprefix("decoder.")] == name
        else:
            continue
        assert torch.equal(tensor, want), name


def test_a_decoder_has_something_to_start_from(tmp_path: Path) -> None:
    _, source = listed("albef_vqa")
    with pytest.raises(ValueError, match="has a decoder of its own: leave --init-decoder out"):
        read(source, vqa(), tmp_path, init_decoder=True)
    _, source = listed("albef_retrieval")
    with pytest.raises(ValueError, match="has 12 layers and no such head: it is a fine-tuned"):
        read(source, vqa(), tmp_path, init_decoder=True)
    with pytest.raises(ValueError, match="it needs --from albef, not 'blip', and a model with a"):
        read(source, vqa(), tmp_path, "blip", init_decoder=True)
    with pytest.raises(ValueError, match="it needs --from albef.* a model with a decoder"):
        read(source, retrieval(), tmp_path, init_decoder=True)


def test_files_of_the_other_family_are_refused_by_name(tmp_path: Path) -> None:
    small = {k: s for k, s in official_list().items() if "queue" not in k and "_m." not in k}
    blip = pool_state(small)
    with pytest.raises(ValueError, match=r"(?s)r\.0\.crossatt.* are names of --from blip and"):
        read(blip, retrieval(), tmp_path)
    _, source = listed("albef_retrieval")
    with pytest.raises(ValueError, match=r"(?s)token_type.* are names of --from albef: is it"):
        read(source, meta_model(), tmp_path, "blip")
    with pytest.raises(ValueError, match=r"(?s)missing in the file: text.* the config of that"):
        read({k: t for k, t in source.items() if "token_type" not in k}, meta_model(), tmp_path)


def test_towers_of_the_other_family_are_not_written() -> None:
    blip = pool_state(weight_shapes(meta_model()))
    with pytest.raises(ValueError, match=r"text\.embeddings\.token_type.* another family's"):
        export_state(blip, "albef")
    albef: State = {"text.embeddings.token_type_embeddings.weight": torch.zeros(2, 4)}
    with pytest.raises(ValueError, match="--to 'blip' has no names for 1 tensors of the towers"):
        export_state(albef, "blip")
