"""Exported files score as the model, which export leaves as it was."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from tests.damage import damaged
from tests.helpers import COLORS, SHAPES, draws, tiny_retrieval_cfg, tiny_run_cfg
from tests.inference_helpers import CLIPS, clips_world
from tests.malformed import outcome, spoiled
from tests.search_helpers import RATE
from uniadapter.apis import encode_text, encode_video, export_model, init_model, load_exported
from uniadapter.apis.export.checking import Draws, PartProgram
from uniadapter.apis.export.facts import FACTS_NAME
from uniadapter.apis.export.parts import parts_of
from uniadapter.apis.export.scoring import Programs
from uniadapter.apis.export.twin import float32_twin
from uniadapter.retrieval import RetrievalOptions
from uniadapter.search.engine import SearchEngine, TorchEngine
from uniadapter.search.index import SearchIndex
from uniadapter.search.onnx_engine import OnnxEngine
from uniadapter.search.reading import ReadOptions
from uniadapter.search.searcher import Searcher
from uniadapter.search.update import UpdateOptions, update_index

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
FORMATS = ("onnx", pytest.param("torch", marks=pytest.mark.deep))
TOLERANCE = 1e-4
_numbers = itertools.count()


@pytest.fixture(scope="module")
def world(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips_world(tiny_world, tmp_path_factory.mktemp("export"))


def drawn_model(world: Path, **options: Any) -> Any:
    """A model of one layer a tower, whose adapter acts."""
    cfg = tiny_retrieval_cfg()
    cfg["visual"]["arch"]["num_layers"] = cfg["text"]["num_layers"] = 1
    towers = {"visual": cfg["visual"], "text": cfg["text"]}
    made = init_model(Config(tiny_run_cfg(world, **{**towers, **options})))
    for parameter in made.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.fixture(scope="module")
def model(world: Path) -> Any:
    return drawn_model(world)


@pytest.fixture(scope="module")
def engine_of(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], OnnxEngine]:
    """The model in a format; it is bit-equal afterwards, and runs as it ran."""
    root = tmp_path_factory.mktemp("exported")

    @cache
    def exported(kind: str) -> OnnxEngine:
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        fast, execution = model.fast, model.execution
        facts = export_model(model, root / kind, format=kind)
        assert facts.difference is not None
        assert facts.difference < TOLERANCE / 10
        after = model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert model.fast == fast
        assert model.execution is execution
        for file in (root / kind).iterdir():
            # Nothing of this machine is in them.
            content = file.read_bytes()
            assert b"site-packages" not in content, file
            assert b"/uniadapter/" not in content, file
        return OnnxEngine(root / kind)

    return exported


@pytest.fixture(scope="module")
def folder(engine_of: Callable[[str], OnnxEngine]) -> Path:
    return engine_of("onnx").model.folder


@pytest.mark.parametrize("kind", FORMATS)
@given(
    media=st.integers(1, 3),
    frames=st.integers(1, 5),
    lengths=st.lists(st.integers(2, 35), min_size=1, max_size=4),
    padding=st.integers(0, 5),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=draws(6), deadline=None)
def test_every_size(kind, media, frames, lengths, padding, seed, model, engine_of):
    exported = engine_of(kind).model.programs
    own = Programs({n: PartProgram(p) for n, p in parts_of(model, (32, 32)).items()})
    drawn = Draws(model, (32, 32), seed)
    # Up to the last of the positions.
    pixels, words = drawn.pixels(media, frames), drawn.words(lengths, max(lengths) + padding)
    seen = [programs.visual(**pixels) for programs in (own, exported)]
    read = [programs.text(**words) for programs in (own, exported)]
    for name, value in seen[0].items():
        torch.testing.assert_close(seen[1][name], value, rtol=TOLERANCE, atol=TOLERANCE)
    for name, value in read[0].items():
        torch.testing.assert_close(read[1][name], value, rtol=TOLERANCE, atol=TOLERANCE)
    logits = model.match(
        words["input_ids"].repeat(media, 1),
        words["attention_mask"].repeat(media, 1),
        seen[0]["tokens"].repeat_interleave(len(lengths), 0),
        model.frame_sims(
            seen[0]["frame_cls"], seen[0]["frame_features"], read[0]["cls"], read[0]["features"]
        )
        .movedim(0, 1)
        .flatten(0, 1),
    )[:, 1].detach()
    found = exported.match(seen[1], {**read[1], **words})
    torch.testing.assert_close(found.flatten(), logits, rtol=0, atol=TOLERANCE)


texts = st.lists(st.sampled_from([*COLORS, *SHAPES, "A", "moves!"]), min_size=1, max_size=5)


@pytest.mark.parametrize("kind", FORMATS)
@given(st.lists(texts.map(" ".join), min_size=1, max_size=3), st.booleans())
@settings(max_examples=draws(3), deadline=None)
def test_as_an_engine(kind, world, model, engine_of, queries, pictures):
    torch_engine: SearchEngine = TorchEngine(model)
    engine: SearchEngine = engine_of(kind)
    for name in ("binding", "feature_size", "token_shape", "frames", "reranks"):
        assert getattr(engine, name) == getattr(torch_engine, name)
    names = [str(world / "clips" / name) for name in CLIPS[:3]]
    media = [f"{name}/000.png" for name in names] if pictures else names
    found = []
    for one in (torch_engine, engine):
        seen = one.encode_media(one.read(media, "image" if pictures else "video"))
        asked = one.encode_texts(queries)
        found.append((seen.features, one.score(seen, asked), one.frame_weights(seen, asked)))
        assert seen.tokens is not None
        assert seen.tokens.dtype == torch.float16
    for ours, theirs in zip(*found, strict=True):
        # Tokens are rounded to half precision, on either side of a number.
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_an_index_is_searched_by_either(world, model, engine_of, tmp_path):
    engines: list[SearchEngine] = [TorchEngine(model), engine_of("onnx")]
    reading = ReadOptions(shot_seconds=1000.0, frame_rate=RATE)
    for number, maker in enumerate(engines):
        place = tmp_path / str(number)
        index = SearchIndex.create(place, maker, reading, world / "clips")
        assert update_index(index, maker, UpdateOptions(workers=0)).shots == len(CLIPS)
        searchers = [Searcher(SearchIndex.open(place), engine) for engine in engines]
        ours, theirs = (searcher.search("a red dot", topk=len(CLIPS)) for searcher in searchers)
        assert ours.reranked == theirs.reranked == len(CLIPS)
        scores = [{hit.path: hit.score for hit in found.hits} for found in (ours, theirs)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_an_index_without_tokens(world, model, engine_of, tmp_path):
    folder, options = engine_of("onnx").model.folder, RetrievalOptions(k_test=0)
    engines: list[SearchEngine] = [TorchEngine(model, options), OnnxEngine(folder, options)]
    reading = ReadOptions(shot_seconds=1000.0, frame_rate=RATE)
    index = SearchIndex.create(tmp_path, engines[1], reading, world / "clips")
    update_index(index, engines[1])
    assert index.settings.layout.token_shape is None
    ours, theirs = (Searcher(index, engine).search("a red dot").hits for engine in engines)
    assert len(ours) == len(theirs) == len(CLIPS)
    for one, other in zip(ours, theirs, strict=True):
        assert one.path == other.path
        assert one.score == pytest.approx(other.score, abs=1e-3)
        assert one.frame_weights == pytest.approx(other.frame_weights, abs=1e-3)


def test_loaded(world, model, folder):
    exported = load_exported(folder)
    paths = [world / "clips" / name for name in CLIPS[:2]]
    said = ["a red dot", "moves"]
    close = {"rtol": 0, "atol": TOLERANCE}
    torch.testing.assert_close(exported.encode_video(paths), encode_video(model, paths), **close)
    torch.testing.assert_close(
        exported.encode_video(paths[0]), encode_video(model, paths[0]), **close
    )
    torch.testing.assert_close(exported.encode_text(said), encode_text(model, said), **close)
    picture = paths[0] / "000.png"
    torch.testing.assert_close(exported.encode_image(picture), exported.encode_image([picture])[0])
    assert exported.encode_text([]).shape == (0, exported.facts.feature_size)
    assert exported.match(paths, said).shape == (2, 2)


def test_refusals(world, model, folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="not empty"):
        export_model(model, folder)
    with pytest.raises(ValueError, match="format='tf'"):
        export_model(model, tmp_path / "a", format="tf")
    with pytest.raises(ValueError, match="opset=9"):
        export_model(model, tmp_path / "a", opset=9)
    with pytest.raises(ValueError, match="ImageToText|can't be exported"):
        export_model(torch.nn.Linear(1, 1), tmp_path / "a")
    assert not list(tmp_path.iterdir())
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    said = json.loads((copy / FACTS_NAME).read_text())
    for change, wanted in (
        ({"format_version": 99}, "format 99"),
        ({"more": 1}, "'more'"),
        ({"frames": "2"}, "frames"),
        ({"pipeline": [{"type": "os.system"}]}, "not registered"),
        ({"format": "tf"}, "neither"),
    ):
        (copy / FACTS_NAME).write_text(json.dumps({**said, **change}))
        with pytest.raises(ValueError, match=wanted):
            load_exported(copy)
    (copy / FACTS_NAME).write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        load_exported(copy)
    (copy / FACTS_NAME).write_text(json.dumps(said))
    (copy / "text.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="another SHA-256"):
        load_exported(copy)
    (copy / "text.onnx").unlink()
    with pytest.raises(FileNotFoundError, match="whole folder"):
        load_exported(copy)
    with pytest.raises(FileNotFoundError, match="uniadapter export"):
        load_exported(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"uniadapter\[export\]"):
        export_model(model, tmp_path / "a")


def test_twin_shares_and_rounds(world):
    model = drawn_model(world)
    twin = float32_twin(model.train())
    assert not twin.training
    assert model.training
    assert next(twin.parameters()) is next(model.parameters())
    model.visual.half()
    twin = float32_twin(model)
    assert {p.dtype for p in twin.parameters()} == {torch.float32}
    assert next(model.visual.parameters()).dtype == torch.float16


@settings(max_examples=draws(6, deep=150))
@given(data=st.data())
def test_damaged_folders(
    data: st.DataObject, world: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
):
    """They are opened and run, or one error of ours names the file."""
    place = tmp_path_factory.getbasetemp() / f"opened_export{next(_numbers)}"
    shutil.copytree(folder, place)
    name = data.draw(st.sampled_from(sorted({path.name for path in folder.iterdir()})))
    right = (folder / name).read_bytes()
    facts = spoiled(json.loads((folder / FACTS_NAME).read_text()))
    if data.draw(st.booleans()):
        (place / FACTS_NAME).write_bytes(data.draw(facts))
    else:
        (place / name).write_bytes(data.draw(damaged(right)))

    def use() -> Any:
        engine = OnnxEngine(place)
        seen = engine.encode_media(engine.read([world / "clips" / CLIPS[0]], "video"))
        asked = engine.encode_texts(["a red dot"])
        assert seen.tokens is None or seen.tokens.shape[1:] == engine.token_shape
        return engine.score(seen, asked), engine.binding

    outcome(use, place)
